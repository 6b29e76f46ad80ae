local id = ARGV[1]
local job = read_job(id)
if not job then return false end
local attempts = {}
for i, token in ipairs(tokens_of(id)) do
  local f = fields(attempt_of(id, token), 'claim', 'gate', 'report', 'closing')
  f[5] = token
  attempts[i] = f
end
job[6] = attempts
return job
