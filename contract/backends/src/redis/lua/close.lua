-- ARGV: job, token, closing and, if a control is to follow, what write_control takes after the job.
-- {1, its answer}: closed; {0, closing}: it was before, with this text; {-1}: no such attempt; {-2}: it may be alive.
local id, token, closing = ARGV[1], ARGV[2], ARGV[3]
local attempt = attempt_of(id, token)
if not redis.call('ZSCORE', P .. 'attempts:' .. id, token) then return {-1} end
local f = redis.call('HMGET', attempt, 'gate', 'closing')
if f[2] and f[2] ~= closing then return {0, f[2]} end
local told = ''
if not f[2] then
  local ok, gate = pcall(cjson.decode, f[1] or '')
  if not ok or type(gate) ~= 'table' or (gate.state ~= 'finished' and gate.state ~= 'sealed') then return {-2} end
  also_when_full()
  redis.call('HSET', attempt, 'closing', closing)
  told = ' ' .. token
end
local done = 0
if ARGV[4] then
  done = write_control(id, ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], told)
end
-- Else the message of the control speaks of the attempt as well.
if told ~= '' and done ~= 1 then tell('hints', 'r ' .. id .. told) end
return {1, done}
