-- Looks for edits that no hint announced: of finished jobs, and keys that were made by hand. They get the
-- active mark.
local slice = redis.call('SCAN', ARGV[1], 'MATCH', P .. 'job:*', 'COUNT', ARGV[2])
for _, job in ipairs(slice[2]) do
  local id = string.sub(job, #P + 5)
  if redis.call('SISMEMBER', active_of(id), id) == 0 then
    local f = fields(job, 'created', 'desired', 'settled')
    if not f[1] or not f[3] or redis.sha1hex(f[2] or '') ~= f[3] then
      also_when_full()
      redis.call('SADD', active_of(id), id)
    end
  end
end
return slice[1]
