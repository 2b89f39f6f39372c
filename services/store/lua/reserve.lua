#!lua
-- A submission gets the id of the job that it makes, or has made: the first one's, if it is the same submission again.
-- KEYS 1 the reservation, 2 what leads from the job to it · ARGV 1 id, 2 digest of the body, 3 ms to keep it,
-- 4 '1' to begin anew · Answers ok, id, answer ('' while the first is in flight), age in ms · refused (another body)
local id, digest, ttl, anew = unpack(ARGV)
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local known = redis.call('HMGET', KEYS[1], 'digest', 'id', 'answer', 'at')
if known[1] and known[1] ~= digest then return {'refused'} end
if known[1] and anew ~= '1' then
  return {'ok', known[2], known[3] or '', string.format('%.0f', tonumber(now) - tonumber(known[4]))}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'digest', digest, 'id', id, 'at', now)
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('SET', KEYS[2], KEYS[1], 'PX', ttl)
return {'ok', id, '', '0'}
