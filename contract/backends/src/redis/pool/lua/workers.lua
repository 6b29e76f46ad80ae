-- For each worker: id, beat, lease in ms, slots (0 while it drains or offers none).
local found = {}
for i, id in ipairs(redis.call('SMEMBERS', WORKERS)) do
  local f = redis.call('HMGET', worker_of(id), 'beat', 'lease_ms', 'slots', 'draining', 'withdrawn')
  found[i] = { id, f[1] or '', f[2] or '', (f[4] or f[5]) and '0' or f[3] or '0' }
end
return found
