#!lua flags=allow-oom
-- A model goes; its job stays, without what it may have held of it once.
-- KEYS 1 the model, 2 the tenant's models, 3 its job · ARGV 1 the job's id
-- Answers ok · gone. Repeatable: what is gone is gone.
redis.call('ZREM', KEYS[2], ARGV[1])
local held = redis.call('HDEL', KEYS[3], 'result')
if redis.call('DEL', KEYS[1]) + held == 0 then return {'gone'} end
return {'ok'}
