-- ARGV: token, worker. Ends what is with a worker that no record is left of. 0: there is one.
if redis.call('EXISTS', worker_of(ARGV[2])) == 1 then return 0 end
if is_with(ARGV[1], ARGV[2]) then
  finish(ARGV[1], '', '', 'WorkerVanished', 'nothing is known of the worker that took it')
end
return 1
