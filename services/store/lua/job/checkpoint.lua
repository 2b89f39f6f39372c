#!lua
-- A checkpoint is stored, and those that it makes superfluous go. Refused when Redis is full: training goes on.
-- KEYS 16 index, 17 bytes, 18… bytes to drop · ARGV 1 fence, 2 nonce, 3 number, 4 step, 5 what is known of it (JSON),
-- 6 bytes ('' if in the file store), 7… numbers to drop · Answers ok · fenced · gone. Repeatable: the number.
local fence, nonce, number, step, known, bytes = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if not owned(record, fence, nonce) then return {'fenced'} end
if tonumber(number) <= tonumber(record.checkpoint) then return {'ok'} end
redis.call('ZADD', KEYS[16], number, known)
if #bytes > 0 then redis.call('SET', KEYS[17], bytes) end
for i = 7, #ARGV do redis.call('ZREMRANGEBYSCORE', KEYS[16], ARGV[i], ARGV[i]) end
for i = 18, #KEYS do redis.call('DEL', KEYS[i]) end
if tonumber(step) > tonumber(record.checkpoint_step) then
  redis.call('HSET', JOB, 'checkpoint_step', step, 'losses', '0')  -- headway was made: the count starts anew
end
redis.call('HSET', JOB, 'checkpoint', number)
return {'ok'}
