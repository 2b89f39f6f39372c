#!lua flags=allow-oom
-- A holder gives its turn back. KEYS 1 the lock · ARGV 1 holder · Answers ok · refused (it is another's by now)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'refused'} end
redis.call('DEL', KEYS[1])
return {'ok'}
