local id, token, number, claim = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local index, attempt = P .. 'attempts:' .. id, attempt_of(id, token)
if redis.call('ZSCORE', index, token) then return fields(attempt, 'claim')[1] == claim and 1 or 0 end
if redis.call('HEXISTS', P .. 'job:' .. id, 'created') == 0 then return -1 end
redis.call('HSET', attempt, 'claim', claim)
redis.call('ZADD', index, number, token)
tell('hints', 'r ' .. id .. ' ' .. token)
return 1
