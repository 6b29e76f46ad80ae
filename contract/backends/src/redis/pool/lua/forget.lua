-- ARGV: token. If it still waits, it is never handed out.
if redis.call('HGET', task_of(ARGV[1]), 'state') == 'waiting' then
  redis.call('LREM', WAITING, 0, ARGV[1])
  wake()
end
redis.call('DEL', task_of(ARGV[1]))
return redis.call('SREM', TASKS, ARGV[1])
