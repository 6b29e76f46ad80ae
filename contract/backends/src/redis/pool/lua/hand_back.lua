-- ARGV: worker, slot, token, which was never started. It is the next to be handed out. A repetition whose slot has it
-- no more changes nothing: another slot of the worker may have it now.
local worker, token = worker_of(ARGV[1]), ARGV[3]
if redis.call('HGET', worker, 'slot:' .. ARGV[2]) ~= token then return 1 end
redis.call('HDEL', worker, 'slot:' .. ARGV[2])
if is_with(token, ARGV[1]) then
  local task = task_of(token)
  local f = redis.call('HMGET', task, 'stop_ms', 'forgotten_ms')
  if f[1] or f[2] then
    tell(finish(token, '', '', 'NeverTaken', 'stopped before a worker started it'))
  else
    redis.call('HSET', task, 'state', 'waiting')
    redis.call('HDEL', task, 'worker', 'taken_ms')
    redis.call('LPUSH', WAITING, token)
    wake()
  end
end
return 1
