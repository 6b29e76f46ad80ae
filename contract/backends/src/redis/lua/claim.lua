-- Draft and claim at once: a claim that meets a conflict, or another attempt that is open or has as high a
-- number, leaves nothing behind.
local id, token, number, claim = ARGV[8], ARGV[9], tonumber(ARGV[10]), ARGV[11]
local index, known = P .. 'attempts:' .. id, false
local all = redis.call('ZRANGE', index, 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  if all[i] == token then
    known = true
    if fields(attempt_of(id, token), 'claim')[1] ~= claim then return 0 end
  elseif tonumber(all[i + 1]) >= number or not fields(attempt_of(id, all[i]), 'closing')[1] then
    return 0
  end
end
-- A key that was made by hand is no job: nothing is ever launched for it.
local job = P .. 'job:' .. id
if redis.call('HEXISTS', job, 'created') == 0 then return redis.call('EXISTS', job) == 1 and 0 or -1 end
local told = ' ' .. token
local done = write_control(id, ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], '0', told)
if done == 1 and not known then
  redis.call('HSET', attempt_of(id, token), 'claim', claim)
  redis.call('ZADD', index, number, token)
end
return done
