-- ARGV: worker, slot, token, exit code or '', signal or '', stop code, reason. Answers with the next assignment.
local worker, token = worker_of(ARGV[1]), ARGV[3]
if redis.call('HEXISTS', worker, 'beat') == 0 then return { '-1' } end
if redis.call('HGET', worker, 'slot:' .. ARGV[2]) == token then redis.call('HDEL', worker, 'slot:' .. ARGV[2]) end
if is_with(token, ARGV[1]) then
  local f = redis.call('HMGET', task_of(token), 'job_id', 'stop_ms')
  finish(token, ARGV[4], ARGV[5], ARGV[6], ARGV[7])
  -- A worker that ended well has reported, which is a hint of its own, unless its report was refused.
  if ARGV[4] ~= '0' or f[2] then tell(f[1]) end
end
return take(ARGV[1], ARGV[2])
