-- ARGV: tokens. For each an array: empty, or the fields below and what its worker last said.
local at, found = now(), {}
for i, token in ipairs(ARGV) do
  local f = redis.call('HMGET', task_of(token), 'job_id', 'state', 'worker', 'launched_ms', 'taken_ms', 'ended_ms',
    'code', 'signal', 'stop_code', 'reason', 'forgotten_ms')
  local view = {}
  if f[2] then
    for j = 1, 10 do view[j] = f[j] or '' end
    local worker = f[3] and redis.call('HMGET', worker_of(f[3]), 'beat', 'lease_ms') or {}
    view[11], view[12], view[13], view[14] = worker[1] or '', worker[2] or '', at, f[11] or ''
  end
  found[i] = view
end
return found
