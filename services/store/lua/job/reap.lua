#!lua flags=allow-oom
-- One job whose lease ended goes to where its wish leads. ARGV 1 shift ms (tests move the clock with it), 2 id
-- Answers ok, status · refused (its owner lives) · gone. Repeatable: a reaped job has no lease.
local record = read()
if not record then
  redis.call('ZREM', RUNNING, ARGV[2])
  return {'gone'}
end
local lease = redis.call('ZSCORE', RUNNING, record.id)
if not lease or tonumber(lease) > now() + tonumber(ARGV[1]) then return {'refused'} end
if not TABLE.owned[record.status] then
  redis.call('ZREM', RUNNING, record.id)
  return {'refused'}
end
hand_back(record, 'worker_lost', 'The worker ' .. record.worker .. ' was lost.', true)
return {'ok', record.status}
