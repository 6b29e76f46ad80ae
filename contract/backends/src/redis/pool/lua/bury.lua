-- ARGV: worker, the beat that has not changed, reason. 0: it has changed meanwhile.
if (redis.call('HGET', worker_of(ARGV[1]), 'beat') or '') ~= ARGV[2] then return 0 end
bury(ARGV[1], 'WorkerVanished', ARGV[3])
return 1
