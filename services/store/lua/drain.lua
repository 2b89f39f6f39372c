#!lua flags=allow-oom
-- A worker shall hand its job on and end. KEYS 1 the worker · Answers ok · gone
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
redis.call('HSET', KEYS[1], 'drain', '1')
return {'ok'}
