#!lua flags=allow-oom
-- A worker shall end: at once, handing its job on, or after its job. A wish that it ends at once stands.
-- KEYS 1 the worker · ARGV 1 '1' (at once) or 'after_job' · Answers ok · gone
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
if redis.call('HGET', KEYS[1], 'drain') ~= '1' then redis.call('HSET', KEYS[1], 'drain', ARGV[1]) end
return {'ok'}
