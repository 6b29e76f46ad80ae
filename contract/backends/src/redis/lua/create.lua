local id, created, desired = ARGV[1], ARGV[2], ARGV[3]
local found = read_job(id)
if found then return found end
redis.call('ZADD', P .. 'created', redis.call('INCR', P .. 'seq'), id)
redis.call('HSET', P .. 'job:' .. id, 'created', created, 'desired', desired)
redis.call('SADD', active_of(id), id)
tell('hints', 'd ' .. id)
return false
