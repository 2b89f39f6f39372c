#!lua
-- A job is accepted: its record, its place in the queue, its first event. Refused when Redis is full.
-- KEYS 10 the tenant's jobs · ARGV 1 id, 2 tenant, 3 kind, 4 priority, 5 spec, 6 warning or ''
-- Repeatable: the id is known.
if redis.call('EXISTS', JOB) == 1 then return {'ok'} end
local id, tenant, kind, priority, spec, warning = unpack(ARGV)
local time = now()
redis.call('HSET', JOB, 'v', text(TABLE.version), 'id', id, 'tenant', tenant, 'kind', kind, 'priority', priority, 'spec', spec,
  'created_at', text(math.floor(time / 1000)), 'queued_at', text(time), 'fence', text(time),
  'attempt', '0', 'attempts', '[]', 'losses', '0', 'nonce', '', 'last_step', '0', 'emitted', '0',
  'checkpoint', '-1', 'checkpoint_step', '-1', 'device_seconds', '0', 'trimmed_to', '0-0')
redis.call('HSET', JOB, 'status', 'queued')
redis.call('ZADD', KEYS[10], 0, id)
local record = read()
move(record, 'queued', 'queued', 'Waiting for a worker.')
enqueue(record)
count('submitted')
say(record, 'info', 'Job accepted; waiting for a worker.', status_data(record))
if warning ~= '' then say(record, 'warn', warning, {}) end
return {'ok'}
