-- Before each script stand: local DB (the number of the database) and local GHOST.
-- Keys are made here and not handed in: one server holds everything.
local P = 'agent-runner:'

local function active_of(id) return P .. 'active:' .. string.sub(redis.sha1hex(id), 1, 1) end
local function attempt_of(id, token) return P .. 'attempt:' .. id .. ':' .. token end
local function tokens_of(id) return redis.call('ZRANGE', P .. 'attempts:' .. id, 0, -1) end
local function tell(channel, text) redis.call('PUBLISH', P .. channel .. '@' .. DB, text) end

-- A full server refuses the first write of a script if it may take memory, and no write that follows one that takes
-- none. For what keeps alive what runs, or ends it: refusing that would free nothing. (The script flag `allow-oom` says
-- the same, and is a syntax error before Redis 7.)
local function also_when_full() redis.call('DEL', P .. 'nothing') end

-- The fields of a hash; of a key that is no hash: none of them. One bad key stops no listing.
local function fields(key, ...)
  local found = redis.pcall('HMGET', key, ...)
  if not found.err then return found end
  local none = {}
  for i = 1, select('#', ...) do none[i] = false end
  return none
end

local function read_job(id)
  local job = P .. 'job:' .. id
  local f = fields(job, 'created', 'desired', 'control', 'status')
  if not f[1] and redis.call('EXISTS', job) == 0 then return false end
  f[5] = redis.call('SISMEMBER', active_of(id), id)
  return f
end

-- Replaces control and status. 1: written, 0: the record is not as seen, -1: there is none.
local function write_control(id, known, expected, seen, newest, control, status, expires, settled, told)
  local job = P .. 'job:' .. id
  local f = redis.call('HMGET', job, 'created', 'desired', 'control')
  if not f[1] and redis.call('EXISTS', job) == 0 then return -1 end
  local desired = f[1] and (f[2] or '') or GHOST
  local same = (known == '1' and f[3] == expected) or (known == '0' and not f[3])
  -- An attempt that the writer has not seen: control was wiped or put back since.
  local unseen = redis.call('ZCOUNT', P .. 'attempts:' .. id, '(' .. newest, '+inf') > 0
  if not same or desired ~= seen or unseen then return f[3] == control and 1 or 0 end
  if settled == '1' then
    redis.call('HSET', job, 'control', control, 'status', status, 'settled', redis.sha1hex(desired))
    redis.call('SREM', active_of(id), id)
  else
    redis.call('HSET', job, 'control', control, 'status', status)
    redis.call('SADD', active_of(id), id)
  end
  if expires ~= '' then
    redis.call('ZADD', P .. 'expiring', expires, id)
  else
    redis.call('ZREM', P .. 'expiring', id)
  end
  -- A job that was made by hand has no place in the order of creation yet.
  if not f[3] and not redis.call('ZSCORE', P .. 'created', id) then
    redis.call('ZADD', P .. 'created', redis.call('INCR', P .. 'seq'), id)
  end
  tell('status', 'c ' .. id .. told)
  return 1
end
