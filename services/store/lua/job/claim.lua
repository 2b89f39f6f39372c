#!lua flags=allow-oom
-- A worker takes a queued job: a new fence, a new attempt, a lease. The first claim binds the job to what it runs on.
-- ARGV 1 nonce, 2 worker, 3 device, 4 kind, 5 binding (JSON: kind, precision, weights, fingerprint), 6 lease ms, 7 the job's id,
--   8 in whose line it was found
-- Answers ok, fence, attempt · mismatch · waits (its tenant has enough running) · refused (someone else has it, or it has ended) · gone. Repeatable: the nonce.
local nonce, worker, device, kind, binding, lease = unpack(ARGV)
local record = read()
if not record or binding == '' then
  leave_all(ARGV[7])
  if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, ARGV[8]) end
  return {'gone'}
end
if TABLE.owned[record.status] and record.nonce == nonce then return {'ok', record.fence, record.attempt} end
if record.status ~= 'queued' then
  leave_line(record)
  return {'refused'}
end
local first, mine = record.binding ~= '' and cjson.decode(record.binding), cjson.decode(binding)
if first and (first.kind ~= mine.kind or first.precision ~= mine.precision or first.weights ~= mine.weights) then
  local like = string.format('%s, %s, weights %s', first.kind, first.precision, first.weights)
  move(record, 'queued', 'waiting_for_worker', 'Waiting for a worker like the first one: ' .. like .. '.')
  return {'mismatch'}
end

local most = tonumber(record.max_running) or 0
if most > 0 and tonumber(redis.call('HGET', HELD, record.tenant) or 0) >= most then
  move(record, 'queued', 'waiting_for_turn', 'Your tenant has ' .. most .. ' jobs running, as many as it may.')
  return {'waits'}
end

-- What stands in the record is read before anything is written: over what cannot be read this ends here.
local time, attempts = now(), cjson.decode(record.attempts)
local queued_at, last_step = tonumber(record.queued_at), tonumber(record.last_step)
assert(type(attempts) == 'table' and queued_at and last_step and tonumber(record.fence) and tonumber(record.attempt), 'no such record')
local served = tonumber(redis.call('HGET', HELD, SERVED) or 0)
local turn = math.max(served, tonumber(redis.call('ZSCORE', TURNS, record.tenant) or 0))
redis.call('HSET', HELD, SERVED, text6(turn))
redis.call('ZADD', TURNS, text6(turn + 1 / (tonumber(record.weight) or 1)), record.tenant)
leave_line(record)
hold(record, 1)
redis.call('ZADD', RUNNING, text(time + tonumber(lease)), record.id)
raise_fence(record)
record.attempt = text(tonumber(record.attempt) + 1)
local seconds = math.floor(time / 1000)
if #attempts == 50 then table.remove(attempts, 1) end  -- weeks of outages must not fill Redis
attempts[#attempts + 1] = {number = tonumber(record.attempt), worker = worker, device = device, started_at = seconds,
                           last_step = last_step}
redis.call('HSET', JOB, 'nonce', nonce, 'worker', worker, 'kind', kind, 'binding', binding, 'emitted', '0',
  'attempt', record.attempt, 'attempts', cjson.encode(attempts), 'claimed_at', text(time),
  'started_at', record.started_at ~= '' and record.started_at or text(seconds))
count('attempts')
if record.attempt == '1' then
  count('started')
  count('waited_ms', time - queued_at)
end
local message = string.format('Attempt %s started on %s (%s).', record.attempt, device, worker)
move(record, 'running', 'running', message)
say(record, 'info', message, status_data(record))
return {'ok', record.fence, record.attempt}
