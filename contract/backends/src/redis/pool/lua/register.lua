-- ARGV: worker, slots, lease in ms, host, beat, predecessor or ''. Repeating it changes nothing.
-- Whoever names a predecessor has seen it and all that it ran end.
if ARGV[6] ~= '' and redis.call('EXISTS', worker_of(ARGV[6])) == 1 then
  bury(ARGV[6], 'WorkerGone', 'the worker that had taken it ended')
end
if redis.call('EXISTS', worker_of(ARGV[1])) == 0 then
  redis.call('HSET', worker_of(ARGV[1]), 'slots', ARGV[2], 'lease_ms', ARGV[3], 'host', ARGV[4], 'beat', ARGV[5],
    'since_ms', now())
  redis.call('SADD', WORKERS, ARGV[1])
  tell('')
end
return 1
