#!lua flags=allow-oom
-- A helper has computed a shard: its segment lies in the store of bytes.
-- KEYS as share.lua's · ARGV 1 the job's fence, 2 shard, 3 what was brought (JSON), 4 seconds of its device, 5 ms that it is kept
-- Answers ok · refused (someone brought it before) · gone (the pass is over: nothing is to be left). Repeatable.
local fence, shard, brought, seconds, kept = unpack(ARGV)
local record = read()
if not record or record.fence ~= fence or not TABLE.owned[record.status] or redis.call('EXISTS', KEYS[20]) == 0 then
  return {'gone'}
end
if redis.call('LPOS', KEYS[21], brought) then return {'ok'} end
redis.call('HINCRBYFLOAT', JOB, 'helped_seconds', seconds)
count('device_ms', math.floor(tonumber(seconds) * 1000))
if redis.call('ZREM', KEYS[20], shard) == 0 then return {'refused'} end
redis.call('RPUSH', KEYS[21], brought)
redis.call('PEXPIRE', KEYS[21], kept)
count('shards_helped')
return {'ok'}
