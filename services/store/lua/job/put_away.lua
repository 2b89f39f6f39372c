#!lua flags=allow-oom
-- What an ended job left lies in the store of bytes now: Redis lets go of it, and keeps the record.
-- KEYS 20 jobs put away, 21 series, 22 checkpoints, 23… their bytes · ARGV 1 id, 2 where it lies,
-- 3… a checkpoint's number, and what is known of it (JSON)
-- Answers ok · gone · refused (it has not ended). Repeatable: what is gone is gone.
local id, place = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if not TABLE.ended[record.status] then return {'refused'} end
local ended = redis.call('ZSCORE', ENDED, id)
if ended then redis.call('ZADD', KEYS[20], ended, id) end
redis.call('ZREM', ENDED, id)
redis.call('HSET', JOB, 'history', place)
redis.call('DEL', EVENTS, KEYS[21])
for i = 3, #ARGV, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[22], ARGV[i], ARGV[i])
  redis.call('ZADD', KEYS[22], ARGV[i], ARGV[i + 1])
end
for i = 23, #KEYS do redis.call('DEL', KEYS[i]) end
return {'ok'}
