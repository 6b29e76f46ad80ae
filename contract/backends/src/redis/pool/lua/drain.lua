-- ARGV: worker. From here on nothing is handed to it.
if redis.call('EXISTS', worker_of(ARGV[1])) == 0 then return 0 end
also_when_full()
redis.call('HSET', worker_of(ARGV[1]), 'draining', '1')
tell('')
return 1
