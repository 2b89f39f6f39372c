#!lua
-- A webhook, new or changed. A new one that is there already, as its answer was lost, stays as it is.
-- KEYS 1 the tenant's webhooks · ARGV 1 id, 2 what it is (JSON), 3 what it was as it was read ('' of a new one), 4 how many
-- the tenant may have · Answers ok · refused (there are as many, or it has changed since)
local known = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[3] == '' then
  if known then return {'ok'} end
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'refused'} end
elseif known ~= ARGV[3] then
  return {'refused'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'ok'}
