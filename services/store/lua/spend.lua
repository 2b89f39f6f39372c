#!lua
-- One more of what a tenant may do so many times in a while. KEYS 1 the count · ARGV 1 most, 2 the while, ms
-- Answers ok · waits, ms until it may again
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count <= tonumber(ARGV[1]) then return {'ok'} end
local left = redis.call('PTTL', KEYS[1])
if left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end  -- Redis' clock went back
return {'waits', tostring(math.max(1, math.min(left, ARGV[2])))}
