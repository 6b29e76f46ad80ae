-- ARGV: a span in ms, tokens. What still waits is never handed out; what a worker still has stays until that says that it
-- ended, so that it can be stopped if it does not. How many were taken, launched within the span.
also_when_full()
local at, span, quick = now(), tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local token = ARGV[i]
  local task = task_of(token)
  local f = redis.call('HMGET', task, 'state', 'launched_ms', 'forgotten_ms')
  if f[1] == 'waiting' then
    redis.call('LREM', WAITING, 0, token)
    wake()
  elseif f[1] and not f[3] and tonumber(at) - (tonumber(f[2] or '') or 0) <= span then
    quick = quick + 1
  end
  if f[1] == 'taken' then
    redis.call('HSETNX', task, 'forgotten_ms', at)
  else
    redis.call('DEL', task)
    redis.call('SREM', TASKS, token)
  end
end
return quick
