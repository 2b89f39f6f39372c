#!lua flags=allow-oom
-- The job succeeded, and leaves a model.
-- KEYS 20 the model, 21 the tenant's models · ARGV 1 fence, 2 nonce, 3 the model's name, 4 what it is (JSON), 5 message,
-- 6 data of the event (JSON) · Answers ok · fenced · gone. Repeatable: the nonce.
local fence, nonce, name, model, message, data = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if record.status == 'succeeded' and record.nonce == nonce then return {'ok'} end
if not owned(record, fence, nonce) then return {'fenced'} end
close_attempt(record, 'succeeded')
raise_fence(record)
move(record, 'succeeded', 'succeeded', message)
redis.call('HSET', KEYS[20], 'v', text(TABLE.version), 'id', name, 'tenant', record.tenant, 'job', record.id,
  'created_at', text(math.floor(now() / 1000)), 'result', model)
redis.call('ZADD', KEYS[21], 0, record.id)
close_job(record)
local told = cjson.decode(data)
told.status = 'succeeded'
say(record, 'info', message, told)
return {'ok'}
