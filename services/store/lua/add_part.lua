#!lua
-- A part of an upload has come. Refused once the upload has ended, or where it would have more than was announced.
-- KEYS 1 the upload · ARGV 1 the part's field, 2 its bytes, 3 how many were announced · Answers ok · gone · refused · waits
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
if redis.call('HGET', KEYS[1], 'status') ~= 'pending' then return {'refused'} end
if redis.call('HINCRBY', KEYS[1], 'sent', ARGV[2]) > tonumber(ARGV[3]) then
  redis.call('HINCRBY', KEYS[1], 'sent', -ARGV[2])
  return {'waits'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'ok'}
