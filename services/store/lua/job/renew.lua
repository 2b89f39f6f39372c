#!lua flags=allow-oom
-- The owner is alive: its lease is extended; the answer brings the wishes.
-- KEYS 20 the worker · ARGV 1 fence, 2 nonce, 3 lease ms · Answers ok, status, drain ('0', '1', 'after_job') · fenced · gone
local record = read({'id', 'status', 'fence', 'nonce'})
if not record then return {'gone'} end
if not owned(record, ARGV[1], ARGV[2]) then return {'fenced'} end
redis.call('ZADD', RUNNING, text(now() + tonumber(ARGV[3])), record.id)
return {'ok', record.status, redis.call('HGET', KEYS[20], 'drain') or '0'}
