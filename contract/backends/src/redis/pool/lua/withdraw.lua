-- ARGV: worker, 1: nothing is handed to it; 0: it takes again. Unlike draining it ends.
local worker = worker_of(ARGV[1])
if redis.call('HEXISTS', worker, 'beat') == 0 then return 0 end
also_when_full()
local changed
if ARGV[2] == '1' then
  changed = redis.call('HSET', worker, 'withdrawn', '1')
else
  changed = redis.call('HDEL', worker, 'withdrawn')
end
if changed == 1 then tell('') end
return 1
