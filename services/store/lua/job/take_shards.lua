#!lua flags=allow-oom
-- The owner computes these shards itself: nobody else needs to. With none, nobody needs to help any more.
-- KEYS as share.lua's · ARGV 1 fence, 2 nonce, 3 ms that the pass is kept without a word, 4… shards
-- Answers ok · fenced · gone. Repeatable.
local record = read()
if not record then return {'gone'} end
if not owned(record, ARGV[1], ARGV[2]) then return {'fenced'} end
if #ARGV == 3 then
  redis.call('DEL', KEYS[20], KEYS[21], KEYS[22])
  redis.call('ZREM', KEYS[23], record.id)
  redis.call('HDEL', JOB, 'pass')
  return {'ok'}
end
for i = 4, #ARGV do redis.call('ZADD', KEYS[20], 'XX', '+inf', ARGV[i]) end
for _, key in ipairs({KEYS[20], KEYS[21], KEYS[22]}) do redis.call('PEXPIRE', key, ARGV[3]) end
return {'ok'}
