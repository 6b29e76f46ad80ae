-- ARGV: worker. 0: a slot still has an assignment.
for _, field in ipairs(redis.call('HKEYS', worker_of(ARGV[1]))) do
  if string.sub(field, 1, 5) == 'slot:' then return 0 end
end
bury(ARGV[1], '', '')
return 1
