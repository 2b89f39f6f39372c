#!lua flags=allow-oom
-- An upload that came in parts has ended, once. KEYS 1 the upload · ARGV 1 status, 2 the file's id, or ''
-- Answers ok · gone · refused (it had ended)
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
if redis.call('HGET', KEYS[1], 'status') ~= 'pending' then return {'refused'} end
redis.call('HSET', KEYS[1], 'status', ARGV[1], 'file', ARGV[2])
return {'ok'}
