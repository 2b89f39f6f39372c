#!lua flags=allow-oom
-- A job goes with all that it left in Redis, unless a worker owns it.
-- KEYS 20 the tenant's jobs, 21 those set aside, 22 how many bytes the tenant's checkpoints have, 23 jobs put away,
-- 24 the tenant's models, 25 shared passes, 26… its other keys
-- ARGV 1 id, 2 whose it is · Answers ok · refused. Repeatable: what is gone is counted once.
local id, tenant = unpack(ARGV)
if redis.call('ZSCORE', RUNNING, id) then return {'refused'} end
local bytes = redis.call('HGET', JOB, 'checkpoint_bytes')
if bytes and redis.call('INCRBY', KEYS[22], text(-tonumber(bytes))) <= 0 then redis.call('DEL', KEYS[22]) end
leave_all(id)
if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, tenant) end
redis.call('ZREM', ENDED, id)
redis.call('ZREM', KEYS[20], id)
redis.call('ZREM', KEYS[23], id)
redis.call('ZREM', KEYS[24], id)
redis.call('ZREM', KEYS[25], id)
redis.call('HDEL', KEYS[21], id)
redis.call('DEL', JOB, EVENTS)
for i = 26, #KEYS do redis.call('DEL', KEYS[i]) end
return {'ok'}
