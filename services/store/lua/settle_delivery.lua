#!lua flags=allow-oom
-- What became of a delivery, and when something is to be done with it again.
-- KEYS 1 the tenant's deliveries, 2 due, 3 totals · ARGV 1 tenant, 2 delivery, 3 what it is now (JSON; '' where it
-- goes), 4 ms until it is due again, 5 what is counted, or '', 6 how many deliveries the tenant may have for this one to
-- stay · Answers ok · gone. Repeatable, but for the count.
local time, member = redis.call('TIME'), ARGV[1] .. ' ' .. ARGV[2]
if ARGV[3] == '' or redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[2], member)
  return {'gone'}
end
if ARGV[5] ~= '' then redis.call('HINCRBY', KEYS[3], ARGV[5], 1) end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[2], member)
  return {'gone'}
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4]), member)
return {'ok'}
