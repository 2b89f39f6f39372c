#!lua flags=allow-oom
-- A job that was set aside can be read again: it goes where its status says.
-- KEYS 20 those set aside · ARGV 1 id · Answers ok · gone. Repeatable: its place is where it already stands.
redis.call('HDEL', KEYS[20], ARGV[1])
local record = read()
if not record then return {'gone'} end
if record.status == 'queued' then enqueue(record) end
if TABLE.owned[record.status] then redis.call('ZADD', RUNNING, text(now()), record.id) end
if TABLE.ended[record.status] then redis.call('ZADD', ENDED, text(math.floor(now() / 1000)), record.id) end
return {'ok'}
