#!lua flags=allow-oom
-- A batch of what the trainer said: events, points of the series, and the record's latest values.
-- KEYS 20 series · ARGV 1 fence, 2 nonce, 3 batch, 4 events (JSON list of JSON), 5 points, 6 last step,
--   7 counts (JSON), 8… field, value
-- Answers ok, status · fenced · gone. Repeatable: a batch that was taken is not taken again; one too far is an error.
local fence, nonce, batch, events, points, last_step, counts = unpack(ARGV)
local record = read({'id', 'status', 'fence', 'nonce', 'emitted', 'last_step'})
if not record then return {'gone'} end
if not owned(record, fence, nonce) then return {'fenced'} end
local emitted = tonumber(record.emitted)
if tonumber(batch) <= emitted then return {'ok', record.status} end
if tonumber(batch) > emitted + 1 then
  return redis.error_reply('batch ' .. batch .. ' after ' .. record.emitted)
end
for name, by in pairs(cjson.decode(counts)) do count(name, by) end  -- first: one that nobody counts is an error
if #points > 0 then redis.pcall('APPEND', KEYS[20], points) end  -- a series that is full costs its points, not the job
for _, event in ipairs(cjson.decode(events)) do say_json(record, event) end
redis.call('HSET', JOB, 'emitted', batch, 'last_step', text(math.max(tonumber(record.last_step), tonumber(last_step))))
if #ARGV > 7 then redis.call('HSET', JOB, unpack(ARGV, 8)) end
return {'ok', record.status}
