-- Moves the gate of an attempt, writes its report, or both, while the gate is as expected. Answers with what
-- the attempt holds; nothing when there is no such attempt. Empty new texts change nothing.
local id, token, known, expected, gate, report = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local attempt = attempt_of(id, token)
if not redis.call('ZSCORE', P .. 'attempts:' .. id, token) then return false end
local f = redis.call('HMGET', attempt, 'gate', 'claim')
local same = (known == '1' and f[1] == expected) or (known == '0' and not f[1])
if not same then return {0, f[1], f[2]} end
also_when_full()
if report ~= '' then redis.call('HSET', attempt, 'report', report) end
if gate ~= '' then redis.call('HSET', attempt, 'gate', gate) end
local started = known == '0' and report ~= ''
local kind = gate == '' and 'r ' or (started and 's ' or 'g ')
tell('hints', kind .. id .. ' ' .. token)
return {1, f[1], f[2]}
