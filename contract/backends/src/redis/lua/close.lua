local id, token, closing = ARGV[1], ARGV[2], ARGV[3]
local attempt = attempt_of(id, token)
if not redis.call('ZSCORE', P .. 'attempts:' .. id, token) then return {-1} end
local f = redis.call('HMGET', attempt, 'gate', 'closing')
if f[2] then return {0, f[2]} end
local ok, gate = pcall(cjson.decode, f[1] or '')
if not ok or type(gate) ~= 'table' or (gate.state ~= 'finished' and gate.state ~= 'sealed') then return {-2} end
redis.call('HSET', attempt, 'closing', closing)
tell('hints', 'r ' .. id .. ' ' .. token)
return {1}
