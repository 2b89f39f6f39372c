#!lua flags=allow-oom
-- A helper has computed a shard: its segment lies in the store of bytes.
-- KEYS as share.lua's · ARGV 1 the job's id, 2 its fence, 3 shard, 4 what was brought (JSON), 5 seconds of its device,
-- 6 ms that it is kept
-- Answers ok · refused (someone brought it before) · gone (the pass is over: nothing is to be left). Repeatable, but
-- for a reply that was lost: then it is refused.
local id, fence, shard, brought, seconds, kept = unpack(ARGV)
local record = read()
if not record or record.fence ~= fence or not TABLE.owned[record.status] or redis.call('EXISTS', KEYS[17]) == 0 then
  return {'gone'}
end
redis.call('HINCRBYFLOAT', JOB, 'helped_seconds', seconds)
count('device_ms', math.floor(tonumber(seconds) * 1000))
if redis.call('ZREM', KEYS[17], shard) == 0 then return {'refused'} end
redis.call('RPUSH', KEYS[18], brought)
redis.call('PEXPIRE', KEYS[18], kept)
count('shards_helped')
return {'ok'}
