#!lua
-- One more of what a tenant may do so many times in a while. KEYS 1 the count · ARGV 1 most, 2 the while, ms
-- Answers ok · waits, ms until it may again
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count <= tonumber(ARGV[1]) then return {'ok'} end
return {'waits', tostring(math.max(1, redis.call('PTTL', KEYS[1])))}
