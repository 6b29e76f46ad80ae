-- ARGV: token, grace in ms. An assignment that nobody has taken ends at once and is never handed out.
local token, grace = ARGV[1], tonumber(ARGV[2])
local task = task_of(token)
local f = redis.call('HMGET', task, 'state', 'worker', 'stop_ms')
if f[1] == 'waiting' then
  redis.call('LREM', WAITING, 0, token)
  wake()
  tell(finish(token, '', '', 'NeverTaken', 'stopped before a worker took it'))
elseif f[1] == 'taken' and (not f[3] or grace < tonumber(f[3])) then
  also_when_full()
  redis.call('HSET', task, 'stop_ms', ARGV[2])
  redis.call('RPUSH', orders_of(f[2]), token .. ' ' .. ARGV[2])
  -- For the orders of a worker that is gone. One that lives hears of them by its beat as well.
  redis.call('EXPIRE', orders_of(f[2]), 60)
elseif f[1] == 'ended' then
  -- Whoever asks has not seen it.
  tell(redis.call('HGET', task, 'job_id'))
end
return 1
