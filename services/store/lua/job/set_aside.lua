#!lua flags=allow-oom
-- A record that cannot be read: it waits in no line and is swept by nobody, until a version that can read it puts it
-- back. KEYS 20 those set aside, 21 jobs put away · ARGV 1 id, 2 why, 3 whose line it stands in · Answers ok. Repeatable.
local id, why, tenant = unpack(ARGV)
leave_all(id)
if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, tenant) end
redis.call('ZREM', RUNNING, id)
redis.call('ZREM', ENDED, id)
redis.call('ZREM', KEYS[21], id)
redis.call('HSET', KEYS[20], id, why)
return {'ok'}
