-- ARGV: worker, beat. {-1}: no such worker; else {1, token, grace in ms, …} of what is to be stopped.
local worker = worker_of(ARGV[1])
if redis.call('HEXISTS', worker, 'beat') == 0 then return { '-1' } end
also_when_full()
redis.call('HSET', worker, 'beat', ARGV[2])
local answer, fields = { '1' }, redis.call('HGETALL', worker)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 5) == 'slot:' then
    local grace = redis.call('HGET', task_of(fields[i + 1]), 'stop_ms')
    if grace then
      answer[#answer + 1] = fields[i + 1]
      answer[#answer + 1] = grace
    end
  end
end
return answer
