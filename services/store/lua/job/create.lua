#!lua
-- A job is accepted: its record, its place in the queue, its first event. Refused when Redis is full, and beyond what
-- the tenant may have waiting.
-- KEYS 20 the tenant's jobs · ARGV 1 id, 2 tenant, 3 kind, 4 priority, 5 spec, 6 warnings (JSON),
-- 7 how many of the tenant's jobs may wait, 0 for any number, 8 how many may run, likewise, 9 the tenant's weight, 10 how
-- many bytes its checkpoints may have together, 0 for any number, 11 its trace, or nothing
-- Answers ok · waits. Repeatable: the id is known.
if redis.call('EXISTS', JOB) == 1 then return {'ok'} end
local id, tenant, kind, priority, spec, warnings, most, max_running, weight, max_checkpoint_bytes, trace =
  unpack(ARGV)
if tonumber(most) > 0 and waiting_of_tenant() >= tonumber(most) then return {'waits'} end
local time = now()
redis.call('HSET', JOB, 'v', text(TABLE.version), 'id', id, 'tenant', tenant, 'kind', kind, 'priority', priority,
  'spec', spec, 'submission_warnings', warnings, 'weight', weight, 'max_running', max_running,
  'max_checkpoint_bytes', max_checkpoint_bytes,
  'created_at', text(math.floor(time / 1000)), 'queued_at', text(time), 'fence', text(time),
  'attempt', '0', 'attempts', '[]', 'losses', '0', 'nonce', '', 'last_step', '0', 'emitted', '0',
  'checkpoint', '-1', 'checkpoint_step', '-1', 'device_seconds', '0', 'trimmed_to', '0-0')
if trace ~= '' then redis.call('HSET', JOB, 'trace', trace) end
redis.call('HSET', JOB, 'status', 'queued')
redis.call('ZADD', KEYS[20], 0, id)
local record = read()
move(record, 'queued', 'queued', 'Waiting for a worker.')
enqueue(record)
count('submitted')
say(record, 'info', 'Job accepted; waiting for a worker.', status_data(record))
for _, warning in ipairs(cjson.decode(warnings)) do say(record, 'warn', warning.message, {code = warning.code}) end
return {'ok'}
