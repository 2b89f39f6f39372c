#!lua
-- A checkpoint is stored, and those that it makes superfluous go. Refused when Redis is full, and beyond what the
-- tenant's may have together: training goes on.
-- KEYS 20 index, 21 bytes, 22 how many bytes the tenant's have, 23… bytes to drop · ARGV 1 fence, 2 nonce, 3 number,
-- 4 step, 5 what is known of it (JSON), 6 bytes ('' if in the file store), 7 how many, 8 how many those to drop have,
-- 9… numbers to drop · Answers ok · fenced · gone · waits. Repeatable: the number.
local fence, nonce, number, step, known, bytes, size, dropped = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if not owned(record, fence, nonce) then return {'fenced'} end
if tonumber(number) <= tonumber(record.checkpoint) then return {'ok'} end
local more, most = tonumber(size) - tonumber(dropped), tonumber(record.max_checkpoint_bytes) or 0
if most > 0 and more > 0 and tonumber(redis.call('GET', KEYS[22]) or 0) + more > most then return {'waits'} end
redis.call('INCRBY', KEYS[22], text(more))
redis.call('HINCRBY', JOB, 'checkpoint_bytes', text(more))
redis.call('ZADD', KEYS[20], number, known)
if #bytes > 0 then redis.call('SET', KEYS[21], bytes) end
for i = 9, #ARGV do redis.call('ZREMRANGEBYSCORE', KEYS[20], ARGV[i], ARGV[i]) end
for i = 23, #KEYS do redis.call('DEL', KEYS[i]) end
if tonumber(step) > tonumber(record.checkpoint_step) then
  redis.call('HSET', JOB, 'checkpoint_step', step, 'losses', '0')  -- headway was made: the count starts anew
end
redis.call('HSET', JOB, 'checkpoint', number)
return {'ok'}
