#!lua flags=allow-oom
-- A record that cannot be read: it waits in no line and is swept by nobody, until a version that can read it puts it
-- back. KEYS 16 those set aside · ARGV 1 id, 2 why · Answers ok. Repeatable.
local id, why = unpack(ARGV)
leave_all(id)
local tenant = redis.call('HGET', JOB, 'tenant')
if tenant and waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, tenant) end
redis.call('ZREM', RUNNING, id)
redis.call('ZREM', ENDED, id)
redis.call('HSET', KEYS[16], id, why)
return {'ok'}
