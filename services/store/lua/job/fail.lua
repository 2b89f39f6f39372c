#!lua flags=allow-oom
-- The job failed for a reason that a retry would meet again. ARGV 1 fence, 2 nonce, 3 code, 4 message, 5 retryable
-- Answers ok · fenced · gone. Repeatable: the nonce.
local fence, nonce, code, message, retryable = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if record.status == 'failed' and record.nonce == nonce then return {'ok'} end
if not owned(record, fence, nonce) then return {'fenced'} end
close_attempt(record, code)
raise_fence(record)
move(record, 'failed', code, message, retryable == '1')
close_job(record)
say(record, 'error', message, {status = 'failed', code = code})
return {'ok'}
