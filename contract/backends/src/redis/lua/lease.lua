-- verb, instance, then per verb. The record: holder, instance, epoch, beat, duration_ms, renewed_at, released.
local verb, me = ARGV[1], ARGV[2]
local lease = P .. 'lease'
local f = redis.call('HMGET', lease, 'instance', 'epoch', 'beat', 'duration_ms', 'released')
local mine = f[1] == me and f[5] ~= '1'
if verb == 'renew' then
  if not mine or f[2] ~= ARGV[3] then return 0 end
  also_when_full()
  redis.call('HSET', lease, 'renewed_at', ARGV[4], 'beat', ARGV[5])
  return 1
elseif verb == 'release' then
  if mine and f[2] == ARGV[3] then
    also_when_full()
    redis.call('HSET', lease, 'released', '1')
  end
  return 1
end
-- acquire: instance, holder, duration, time, and the epoch and beat that did not change for long enough.
if mine then return {1, f[2]} end
local watched = f[2] == ARGV[6] and f[3] == ARGV[7]
if f[1] and f[5] ~= '1' and not watched then return {0, f[2] or '', f[3] or '', f[4] or ''} end
also_when_full()
-- The counter stands by itself, so that an epoch never comes again even when somebody deletes the record.
local epoch = redis.call('INCR', P .. 'epoch')
local last = tonumber(f[2] or '') or 0
if last >= epoch then
  epoch = last + 1
  redis.call('SET', P .. 'epoch', epoch)
end
redis.call('HSET', lease, 'instance', me, 'holder', ARGV[3], 'epoch', epoch, 'beat', ARGV[8], 'duration_ms', ARGV[4],
  'renewed_at', ARGV[5], 'released', '0')
return {1, tostring(epoch)}
