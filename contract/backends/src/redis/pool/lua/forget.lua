-- ARGV: a span in ms, tokens. What still waits is never handed out. How many were taken, launched within the span.
local at, span, quick = tonumber(now()), tonumber(ARGV[1]), 0
for i = 2, #ARGV do
  local token = ARGV[i]
  local f = redis.call('HMGET', task_of(token), 'state', 'launched_ms')
  if f[1] == 'waiting' then
    redis.call('LREM', WAITING, 0, token)
    wake()
  elseif f[1] and at - (tonumber(f[2] or '') or 0) <= span then
    quick = quick + 1
  end
  redis.call('DEL', task_of(token))
  redis.call('SREM', TASKS, token)
end
return quick
