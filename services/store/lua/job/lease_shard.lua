#!lua flags=allow-oom
-- A helper takes the earliest shard that is free, or whose lease has ended.
-- KEYS as share.lua's · ARGV 1 the job's fence, 2 helper, 3 lease ms, 4 helpers at most, 5 ms that they are kept
-- Answers ok, shard · waits (enough help) · refused (none is free) · gone (the pass is over). A reply that was lost
-- costs a shard's lease.
local fence, helper, lease, most, kept = unpack(ARGV)
local record = read()
if not record or record.fence ~= fence or record.status ~= 'running' or redis.call('EXISTS', KEYS[20]) == 0 then
  return {'gone'}  -- another attempt's pass may be open
end
local time = now()
redis.call('ZREMRANGEBYSCORE', KEYS[22], '-inf', text(time))
if not redis.call('ZSCORE', KEYS[22], helper) and redis.call('ZCARD', KEYS[22]) >= tonumber(most) then return {'waits'} end
local shard = redis.call('ZRANGEBYSCORE', KEYS[20], 0, 0, 'LIMIT', 0, 1)[1]
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', KEYS[20], '(0', text(time), 'LIMIT', 0, 100)) do
  if not shard or ended < shard then shard = ended end
end
if not shard then return {'refused'} end
local till = text(time + tonumber(lease))
redis.call('ZADD', KEYS[20], till, shard)
redis.call('ZADD', KEYS[22], till, helper)
redis.call('PEXPIRE', KEYS[22], kept)
return {'ok', shard}
