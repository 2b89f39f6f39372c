#!lua flags=allow-oom
-- A job goes with all that it left in Redis, unless a worker owns it.
-- KEYS 17 the tenant's jobs, 18 those set aside, 19 how many bytes the tenant's checkpoints have, 20 jobs put away,
-- 21 the tenant's models, 22 shared passes, 23… its other keys
-- ARGV 1 id, 2 whose it is · Answers ok · refused. Repeatable: what is gone is counted once.
local id, tenant = unpack(ARGV)
if redis.call('ZSCORE', RUNNING, id) then return {'refused'} end
local bytes = redis.call('HGET', JOB, 'checkpoint_bytes')
if bytes and redis.call('INCRBY', KEYS[19], text(-tonumber(bytes))) <= 0 then redis.call('DEL', KEYS[19]) end
leave_all(id)
if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, tenant) end
redis.call('ZREM', ENDED, id)
redis.call('ZREM', KEYS[17], id)
redis.call('ZREM', KEYS[20], id)
redis.call('ZREM', KEYS[21], id)
redis.call('ZREM', KEYS[22], id)
redis.call('HDEL', KEYS[18], id)
redis.call('DEL', JOB, EVENTS)
for i = 23, #KEYS do redis.call('DEL', KEYS[i]) end
return {'ok'}
