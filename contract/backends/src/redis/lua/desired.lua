local id, expected, desired = ARGV[1], ARGV[2], ARGV[3]
local job = P .. 'job:' .. id
local f = redis.call('HMGET', job, 'created', 'desired')
if not f[1] then return redis.call('EXISTS', job) == 1 and 0 or -1 end
if (f[2] or '') ~= expected then return f[2] == desired and 1 or 0 end
redis.call('HSET', job, 'desired', desired)
redis.call('SADD', active_of(id), id)
tell('hints', 'd ' .. id)
return 1
