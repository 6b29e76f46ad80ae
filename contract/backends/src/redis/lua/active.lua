-- A slice of one shard of the active index: for each job its id and a digest of everything that it and its
-- attempts hold, so that an edit by hand, which counts no version, is seen all the same.
local shard = P .. 'active:' .. ARGV[1]
local slice = redis.call('SSCAN', shard, ARGV[2], 'COUNT', ARGV[3])
local out = {slice[1]}
for _, id in ipairs(slice[2]) do
  local job = P .. 'job:' .. id
  local parts, n = {}, 0
  local function add(found)
    for i = 1, #found do
      local text = found[i]
      if text then parts[n + 1], parts[n + 2] = #text, text else parts[n + 1], parts[n + 2] = '-', '' end
      n = n + 2
    end
  end
  add(fields(job, 'created', 'desired', 'control', 'status'))
  if parts[1] == '-' and redis.call('EXISTS', job) == 0 then
    redis.call('SREM', shard, id)
  else
    -- Of a key that is no hash nobody else can write down that it is there, and whoever lists jobs is to see it.
    if parts[1] == '-' and not redis.call('ZSCORE', P .. 'created', id) then
      also_when_full()
      redis.call('ZADD', P .. 'created', redis.call('INCR', P .. 'seq'), id)
    end
    local tokens = redis.pcall('ZRANGE', P .. 'attempts:' .. id, 0, -1)
    for _, token in ipairs(tokens.err and {} or tokens) do
      add({token})
      add(fields(attempt_of(id, token), 'claim', 'gate', 'report', 'closing'))
    end
    out[#out + 1] = id
    out[#out + 1] = string.sub(redis.sha1hex(table.concat(parts, ' ')), 1, 15)
  end
end
return out
