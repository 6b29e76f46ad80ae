-- Holds a job: nothing is launched, and a running attempt is stopped without using up a try. Like
-- POST /jobs/<job id>/suspend.
--
--   redis-cli --eval runbooks/redis/suspend.lua , <job id>

-- The same in all scripts of this folder: from here …
local function refuse(why) return redis.error_reply('refused: ' .. why) end

-- `text`, a JSON object, with another value of one of its members. Everything else stays byte for byte: decoding
-- and encoding the whole would turn an empty array of the payload into an object and cut large numbers.
local function with(text, name, value)
  local depth, at, key, from, to, times = 0, 1, nil, nil, nil, 0
  local waits = false
  while true do
    local i = string.find(text, '["{}%[%],:]', at)
    if not i then break end
    local c = string.sub(text, i, i)
    at = i + 1
    if c == '"' then
      local stop = string.find(text, '["\\]', at)
      while string.sub(text, stop, stop) == '\\' do stop = string.find(text, '["\\]', stop + 2) end
      if depth == 1 and waits then
        key, waits = string.sub(text, at, stop - 1), false
        -- The name could be spelled with escapes.
        if string.find(key, '\\', 1, true) then return nil end
      end
      at = stop + 1
    elseif c == '{' or c == '[' then
      depth = depth + 1
      waits = depth == 1
    elseif c == ':' and depth == 1 and key == name then
      from, times = i + 1, times + 1
    elseif c ~= ':' then
      if depth == 1 and key == name and from and not to then to = i - 1 end
      if c ~= ',' then depth = depth - 1 end
      waits = c == ',' and depth == 1
      if waits then key = nil end
    end
  end
  if times > 1 then return nil end
  if from then return string.sub(text, 1, from - 1) .. value .. string.sub(text, to + 1) end
  local stop = string.find(text, '}%s*$')
  return string.sub(text, 1, stop - 1) .. ',"' .. name .. '":' .. value .. string.sub(text, stop)
end

-- Changes members of `desired` of the job in ARGV[1]. `decide` gets what is stored, decoded, and whether the job
-- has ended; it answers with the new values, or with nothing and why not.
local function edit(decide)
  local id = ARGV[1]
  if not id then return refuse('which job? redis-cli --eval <this file> , <job id>') end
  local job = 'agent-runner:job:' .. id
  local f = redis.call('HMGET', job, 'created', 'desired', 'status')
  if not f[1] then return refuse('there is no job ' .. id) end
  local ok, desired = pcall(cjson.decode, f[2] or '')
  if not ok or type(desired) ~= 'table' or type(desired.job_type) ~= 'string' then
    return refuse('desired of ' .. id .. ' cannot be decoded: mend it first')
  end
  local known, status = pcall(cjson.decode, f[3] or '')
  status = known and type(status) == 'table' and status.status or ''
  local values, why = decide(desired, status == 'SUCCEEDED' or status == 'FAILED')
  if not values then return refuse(why) end
  local text = f[2]
  for _, pair in ipairs(values) do
    text = with(text, pair[1], pair[2])
    if not text then return refuse('desired of ' .. id .. ' holds a word twice or with escapes: mend it first') end
  end
  if text ~= f[2] then
    redis.call('HSET', job, 'desired', text)
    -- The mark by which a resync finds the edit if nobody hears of it.
    redis.call('SADD', 'agent-runner:active:' .. string.sub(redis.sha1hex(id), 1, 1), id)
  end
  return redis.status_reply('desired: ' .. text)
end
-- … to here.

return edit(function(_, ended)
  if ended then return nil, 'it has ended already' end
  return {{'suspend', 'true'}}
end)
