-- A page below a place in the order of creation: whether more follow, and then the jobs, each with its id and
-- its place.
local below, limit, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local index = P .. 'created'
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local out = {0}
for i = 1, #found, 2 do
  if #out > limit or bytes <= 0 then
    out[1] = 1
    break
  end
  local id = found[i]
  local job = read_job(id)
  if job then
    job[6], job[7] = id, found[i + 1]
    bytes = bytes - #(job[2] or '') - #(job[3] or '')
    out[#out + 1] = job
  else
    redis.call('ZREM', index, id)
  end
end
return out
