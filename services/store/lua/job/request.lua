#!lua flags=allow-oom
-- A user's wish: cancel, pause or resume. ARGV 1 action, 2 nonce · Answers ok, status · refused, status · gone
-- Repeatable: the nonce of the last wish.
local action, nonce = ARGV[1], ARGV[2]
local record = read()
if not record then return {'gone'} end
if record.request == nonce then return {'ok', record.status} end
local to = TABLE.requests[action][record.status]
if not to then return {'refused', record.status} end

local SAID = {cancelled = 'Cancelled on request.', cancelling = 'Cancel requested; the trainer is being stopped.',
              paused = 'Paused on request.', pausing = 'Pause requested; the trainer writes a checkpoint.',
              queued = 'Resumed; waiting for a worker.'}
if record.status == 'queued' then leave_line(record) end
redis.call('HSET', JOB, 'request', nonce)
move(record, to, to, SAID[to])
if to == 'queued' then enqueue(record) end
if TABLE.ended[to] then
  raise_fence(record)
  close_job(record)
end
say(record, 'info', SAID[to], status_data(record))
return {'ok', record.status}
