#!lua flags=allow-oom
-- A record that cannot be read: it waits in no line and is swept by nobody, until a version that can read it puts it
-- back. KEYS 17 those set aside, 18 jobs put away · ARGV 1 id, 2 why, 3 whose line it stands in · Answers ok. Repeatable.
local id, why, tenant = unpack(ARGV)
leave_all(id)
if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, tenant) end
redis.call('ZREM', RUNNING, id)
redis.call('ZREM', ENDED, id)
redis.call('ZREM', KEYS[18], id)
redis.call('HSET', KEYS[17], id, why)
return {'ok'}
