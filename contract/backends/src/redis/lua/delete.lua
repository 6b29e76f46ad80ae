local id, expected, seen = ARGV[1], ARGV[2], ARGV[3]
local job, index = P .. 'job:' .. id, P .. 'attempts:' .. id
local f = redis.call('HMGET', job, 'desired', 'control')
if not f[1] and redis.call('EXISTS', job) == 0 then return -1 end
if f[1] ~= seen or f[2] ~= expected then return 0 end
local tokens = tokens_of(id)
for _, token in ipairs(tokens) do
  if not fields(attempt_of(id, token), 'closing')[1] then return 0 end
end
-- One by one: the arguments of one call are limited.
for _, token in ipairs(tokens) do redis.call('DEL', attempt_of(id, token)) end
redis.call('DEL', job, index)
redis.call('SREM', active_of(id), id)
redis.call('ZREM', P .. 'expiring', id)
redis.call('ZREM', P .. 'created', id)
tell('status', 'x ' .. id .. ' ' .. table.concat(tokens, ' '))
return 1
