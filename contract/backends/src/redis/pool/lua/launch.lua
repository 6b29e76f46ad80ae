-- ARGV: token, job, inside, grace in ms. 1: it waits now; 0: it was launched before.
local task = task_of(ARGV[1])
if redis.call('EXISTS', task) == 1 then return 0 end
redis.call('HSET', task, 'job_id', ARGV[2], 'inside', ARGV[3], 'grace_ms', ARGV[4], 'launched_ms', now(), 'state', 'waiting')
redis.call('SADD', TASKS, ARGV[1])
redis.call('RPUSH', WAITING, ARGV[1])
wake()
return 1
