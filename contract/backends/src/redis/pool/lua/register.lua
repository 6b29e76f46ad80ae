-- ARGV: worker, slots, lease in ms, host, beat, predecessor or ''. Whoever repeats it, because no answer came, counts
-- its lease from then on: so it is a heartbeat, and has to be a new one.
-- Whoever names a predecessor has seen it and all that it ran end.
if ARGV[6] ~= '' and redis.call('EXISTS', worker_of(ARGV[6])) == 1 then
  bury(ARGV[6], 'WorkerGone', 'the worker that had taken it ended')
end
also_when_full()
if redis.call('EXISTS', worker_of(ARGV[1])) == 1 then
  redis.call('HSET', worker_of(ARGV[1]), 'beat', ARGV[5])
else
  redis.call('HSET', worker_of(ARGV[1]), 'slots', ARGV[2], 'lease_ms', ARGV[3], 'host', ARGV[4], 'beat', ARGV[5],
    'since_ms', now())
  redis.call('SADD', WORKERS, ARGV[1])
  tell('')
end
return 1
