#!lua flags=allow-oom
-- The owner lets go: drained, paused, cancelled, or its trainer was killed (`counts`).
-- ARGV 1 fence, 2 nonce, 3 code, 4 message, 5 counts ('1' or '0') · Answers ok, status · fenced · gone
-- Repeatable: what has no owner, and had this one last, was released.
local fence, nonce, code, message, counts = unpack(ARGV)
local record = read()
if not record then return {'gone'} end
if not TABLE.owned[record.status] and record.nonce == nonce then return {'ok', record.status} end
if not owned(record, fence, nonce) then return {'fenced'} end
hand_back(record, code, message, counts == '1')
return {'ok', record.status}
