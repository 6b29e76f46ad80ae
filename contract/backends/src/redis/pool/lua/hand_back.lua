-- ARGV: worker, slot, token, which was never started. It is the next to be handed out. A repetition whose slot has it
-- no more changes nothing: another slot of the worker may have it now.
local worker, token = worker_of(ARGV[1]), ARGV[3]
if redis.call('HGET', worker, 'slot:' .. ARGV[2]) ~= token then return 1 end
redis.call('HDEL', worker, 'slot:' .. ARGV[2])
if is_with(token, ARGV[1]) then
  local task = task_of(token)
  if redis.call('HEXISTS', task, 'stop_ms') == 1 then
    finish(token, '', '', 'NeverTaken', 'stopped before a worker started it')
    tell(redis.call('HGET', task, 'job_id'))
  else
    redis.call('HSET', task, 'state', 'waiting')
    redis.call('HDEL', task, 'worker', 'taken_ms')
    redis.call('LPUSH', WAITING, token)
    wake()
  end
end
return 1
