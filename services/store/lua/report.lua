#!lua flags=allow-oom
-- A worker's heartbeat, which expires; those that expired leave the list.
-- KEYS 1 the worker, 2 the workers · ARGV 1 id, 2 report, 3 TTL, ms · Answers ok, drain ('0', '1', 'after_job')
local id, report, ttl = unpack(ARGV)
local now = tonumber(redis.call('TIME')[1])  -- a worker's own clock may be wrong
redis.call('HSET', KEYS[1], 'report', report)
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('ZADD', KEYS[2], now, id)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ttl) / 1000)
return {'ok', redis.call('HGET', KEYS[1], 'drain') or '0'}
