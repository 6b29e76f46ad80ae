local index = P .. 'expiring'
local found = redis.call('ZRANGEBYSCORE', index, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
local out = {}
for _, id in ipairs(found) do
  if redis.call('EXISTS', P .. 'job:' .. id) == 1 then
    out[#out + 1] = id
  else
    redis.call('ZREM', index, id)
  end
end
return out
