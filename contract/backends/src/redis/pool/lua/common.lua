-- Before each script of the pool stands: local DB (the number of the database, since channels have none).
local P = 'agent-runner:pool:'
local TASKS, WAITING, WAKE, WORKERS = P .. 'tasks', P .. 'waiting', P .. 'wake', P .. 'workers'
local function task_of(token) return P .. 'task:' .. token end
local function worker_of(id) return P .. 'worker:' .. id end
local function orders_of(id) return P .. 'orders:' .. id end
local function tell(job_id) redis.call('PUBLISH', P .. 'changed@' .. DB, job_id) end

local function now()
  local t = redis.call('TIME')
  return string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000))
end

-- A full server refuses the first write of a script if it may take memory, and no write that follows one that takes
-- none. For what keeps alive what runs, or ends it: refusing that would free nothing. (The script flag `allow-oom` says
-- the same, and is a syntax error before Redis 7.)
local function also_when_full() redis.call('DEL', P .. 'nothing') end

-- As many wake-ups as assignments wait, and no more: a wake-up that nothing waits for costs a look.
local function wake()
  local missing = redis.call('LLEN', WAITING) - redis.call('LLEN', WAKE)
  if missing > 0 then redis.call('RPUSH', WAKE, '1') end
  if missing < 0 then redis.call('LPOP', WAKE) end
end

local function is_with(token, id)
  local f = redis.call('HMGET', task_of(token), 'state', 'worker')
  return f[1] == 'taken' and f[2] == id
end

-- Nothing of the task is alive any more. Answers with its job.
local function finish(token, code, signal, stop_code, reason)
  local task = task_of(token)
  local f = redis.call('HMGET', task, 'job_id', 'forgotten_ms')
  also_when_full()
  if f[2] then
    -- Nobody asks how it ended.
    redis.call('DEL', task)
    redis.call('SREM', TASKS, token)
    return f[1]
  end
  redis.call('HSET', task, 'state', 'ended', 'ended_ms', now(), 'stop_code', stop_code, 'reason', reason)
  if code ~= '' then redis.call('HSET', task, 'code', code) end
  if signal ~= '' then redis.call('HSET', task, 'signal', signal) end
  return f[1]
end

-- Gives the slot its next assignment. {'1', token, job, inside, grace in ms}; {'0'}: none waits; {'-1'}: no such worker.
local function take(id, slot)
  local worker, field = worker_of(id), 'slot:' .. slot
  local f = redis.call('HMGET', worker, 'beat', 'draining', field, 'withdrawn')
  if not f[1] then return { '-1' } end
  local token = f[3]
  if token and not is_with(token, id) then
    redis.call('HDEL', worker, field)
    token = false
  end
  -- A slot that has an assignment and asks has not got the answer that gave it.
  while not token do
    -- What a worker that drains or offers no slots was woken for is for another.
    token = not f[2] and not f[4] and redis.call('LPOP', WAITING)
    if not token then break end
    if redis.call('HGET', task_of(token), 'state') == 'waiting' then
      redis.call('HSET', task_of(token), 'state', 'taken', 'worker', id, 'taken_ms', now())
      redis.call('HSET', worker, field, token)
    else
      token = false
    end
  end
  wake()
  if not token then return { '0' } end
  local task = redis.call('HMGET', task_of(token), 'job_id', 'inside', 'grace_ms')
  return { '1', token, task[1] or '', task[2] or '', task[3] or '' }
end

-- Strikes a worker off. Its assignments have ended, and the jobs are told.
local function bury(id, stop_code, reason)
  local fields = redis.call('HGETALL', worker_of(id))
  for i = 1, #fields, 2 do
    local token = fields[i + 1]
    if string.sub(fields[i], 1, 5) == 'slot:' and is_with(token, id) then
      tell(finish(token, '', '', stop_code, reason))
    end
  end
  redis.call('DEL', worker_of(id), orders_of(id))
  redis.call('SREM', WORKERS, id)
  tell('')
end
