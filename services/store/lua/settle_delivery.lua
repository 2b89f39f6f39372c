#!lua flags=allow-oom
-- What became of a delivery, and when something is to be done with it again.
-- KEYS 1 the tenant's deliveries, 2 due, 3 totals · ARGV 1 tenant, 2 delivery, 3 what it was as it was read, 4 what it is
-- now (JSON; '' where it goes), 5 ms until it is due again, 6 what is counted, or '', 7 how many deliveries the tenant may
-- have for this one to stay · Answers ok · refused (it has changed since) · gone.
local time, member = redis.call('TIME'), ARGV[1] .. ' ' .. ARGV[2]
local function go()
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[2], member)
  return {'gone'}
end
local known = redis.call('HGET', KEYS[1], ARGV[2])
if not known then return go() end
if known ~= ARGV[3] then return {'refused'} end
if ARGV[6] ~= '' then redis.call('HINCRBY', KEYS[3], ARGV[6], 1) end
if ARGV[4] == '' or redis.call('HLEN', KEYS[1]) > tonumber(ARGV[7]) then return go() end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[5]), member)
return {'ok'}
