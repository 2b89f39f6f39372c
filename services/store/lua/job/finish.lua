#!lua flags=allow-oom
-- The job succeeded. ARGV 1 fence, 2 nonce, 3 result (JSON), 4 message, 5 data of the event (JSON)
-- Answers ok · fenced · gone. Repeatable: the nonce.
local fence, nonce, result, message, data = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if record.status == 'succeeded' and record.nonce == nonce then return {'ok'} end
if not owned(record, fence, nonce) then return {'fenced'} end
close_attempt(record, 'succeeded')
raise_fence(record)
move(record, 'succeeded', 'succeeded', message)
redis.call('HSET', JOB, 'result', result)
close_job(record)
local told = cjson.decode(data)
told.status = 'succeeded'
say(record, 'info', message, told)
return {'ok'}
