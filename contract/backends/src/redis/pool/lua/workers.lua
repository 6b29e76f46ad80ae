-- For each worker: id, beat, lease in ms, slots (0 while it drains).
local found = {}
for i, id in ipairs(redis.call('SMEMBERS', WORKERS)) do
  local f = redis.call('HMGET', worker_of(id), 'beat', 'lease_ms', 'slots', 'draining')
  found[i] = { id, f[1] or '', f[2] or '', f[4] and '0' or f[3] or '0' }
end
return found
