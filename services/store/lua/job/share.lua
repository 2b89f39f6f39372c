#!lua flags=allow-oom
-- The owner's pass over its images is open to helpers, from here on and anew.
-- KEYS 20 shards, 21 what was brought, 22 helpers, 23 all shared passes · ARGV 1 fence, 2 nonce, 3 how many shards,
-- 4 what the pass is (JSON), 5 ms that it is kept without a word of the owner
-- Answers ok · fenced · gone. Repeatable, before anyone could have helped.
local fence, nonce, count, pass, kept = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if not owned(record, fence, nonce) then return {'fenced'} end
assert(tonumber(count) <= 65536, 'a plan has fewer shards')
redis.call('DEL', KEYS[20], KEYS[21], KEYS[22])
for first = 0, tonumber(count) - 1, 1000 do
  local free = {}
  for shard = first, math.min(first + 999, tonumber(count) - 1) do
    free[#free + 1] = '0'
    free[#free + 1] = string.format('%06d', shard)
  end
  redis.call('ZADD', KEYS[20], unpack(free))
end
redis.call('PEXPIRE', KEYS[20], kept)
redis.call('HSET', JOB, 'pass', pass)
redis.call('ZADD', KEYS[23], text(now()), record.id)
return {'ok'}
