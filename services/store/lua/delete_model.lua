#!lua flags=allow-oom
-- A model goes; its job stays. KEYS 1 the model, 2 the tenant's models · ARGV 1 its job's id
-- Answers ok · gone. Repeatable: what is gone is gone.
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('DEL', KEYS[1]) == 0 then return {'gone'} end
return {'ok'}
