-- Shared by every script. Each is called with these keys first, and its own from KEYS[20] on:
--   KEYS 1 job · 2 events · 3 running · 4 ended · 5 to 8 the queues any, cuda, mps, cpu · 9 totals · 10 the tenants'
--   turns · 11 how many jobs of each tenant workers own · 12 to 15 the tenant's own queues any, cuda, mps, cpu ·
--   16 the tenant's feed · 17 its webhooks · 18 their deliveries · 19 deliveries of all tenants, by when they are due
-- and answers {word, ...} with a word of scripts.Answer.
local JOB, EVENTS, RUNNING, ENDED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TOTALS = KEYS[9]
local TURNS, HELD, FEED = KEYS[10], KEYS[11], KEYS[16]
local WEBHOOKS, DELIVERIES, DUE = KEYS[17], KEYS[18], KEYS[19]
local OWN = {any = KEYS[12], cuda = KEYS[13], mps = KEYS[14], cpu = KEYS[15]}
local QUEUED = {any = KEYS[5], cuda = KEYS[6], mps = KEYS[7], cpu = KEYS[8]}
local TABLE = {{TABLE}}  -- contract/transitions.py, as it is there, and totals.Count

local function now()  -- ms
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)  -- Lua would write large numbers as 1.7e+12
  return string.format('%.0f', number)
end

-- What a transition reads of the record; the spec stays where it is.
local FIELDS = {'id', 'tenant', 'weight', 'max_running', 'max_checkpoint_bytes', 'status', 'fence', 'nonce', 'kind', 'priority', 'queued_at', 'losses', 'attempts',
                'last_step', 'emitted', 'request', 'binding', 'device_seconds', 'claimed_at', 'checkpoint',
                'checkpoint_step', 'attempt', 'started_at', 'worker'}

local function read(fields)  -- the record, of which some may be enough, the id first; or nil
  fields = fields or FIELDS
  local values = redis.call('HMGET', JOB, unpack(fields))
  if not values[1] then return nil end
  local record = {}
  for i, field in ipairs(fields) do record[field] = values[i] or '' end
  return record
end

local function owned(record, fence, nonce)  -- by the attempt that asks
  return TABLE.owned[record.status] and record.fence == fence and record.nonce == nonce
end

local function move(record, to, code, message, retryable)
  if record.status ~= to and not TABLE.moves[record.status][to] then
    error('a job may not go from ' .. record.status .. ' to ' .. to)
  end
  record.status = to
  local reason = cjson.encode({code = code, message = message, retryable = retryable or false})
  redis.call('HSET', JOB, 'status', to, 'reason', reason)
end

local function raise_fence(record)  -- over clocks that jump and a Redis that lost its last second
  record.fence = text(math.max(tonumber(record.fence) + 1, now()))
  redis.call('HSET', JOB, 'fence', record.fence)
end

local function count(what, by)  -- for /metrics; the names are totals.Count's
  if not TABLE.counts[what] then error('nobody counts ' .. what) end
  redis.call('HINCRBY', TOTALS, what, text(by or 1))
end

-- What the caps push out is remembered as `trimmed_to`; by bytes, a tenth goes at a time.
local function trim(bytes)
  local length, dropped, last = redis.call('XLEN', EVENTS), 0, nil
  local goal, count = bytes, length - TABLE.events_cap
  if bytes > TABLE.events_bytes then goal, count = TABLE.events_bytes * 0.9, 1000 end
  for _, entry in ipairs(redis.call('XRANGE', EVENTS, '-', '+', 'COUNT', count)) do
    if length - dropped <= TABLE.events_cap and bytes <= goal then break end
    bytes, dropped, last = bytes - #entry[2][2], dropped + 1, entry[1]
  end
  if not last then return end
  redis.call('XTRIM', EVENTS, 'MAXLEN', length - dropped)
  redis.call('HSET', JOB, 'trimmed_to', last, 'events_bytes', text(bytes))
end

-- Adds an event, ready as JSON; the feed says where it lies.
local function say_json(record, event, final)
  local id = redis.call('XADD', EVENTS, record.fence .. '-*', 'event', event, 'final', final and '1' or '0')
  redis.call('XADD', FEED, 'MAXLEN', '~', TABLE.feed_cap, '*', 'job', record.id, 'event', id)
  local bytes = redis.call('HINCRBY', JOB, 'events_bytes', #event)
  if redis.call('XLEN', EVENTS) > TABLE.events_cap or bytes > TABLE.events_bytes then trim(bytes) end
end

local function say(record, level, message, data)
  local event = {created_at = math.floor(now() / 1000), level = level, type = 'message', message = message, data = data}
  say_json(record, cjson.encode(event), TABLE.ended[record.status])
end

local function status_data(record)
  return {status = record.status}
end

local SERVED = ' turn'  -- in HELD, which no tenant can be called: the turn of the tenant that was served last

local function text6(number)
  return string.format('%.6f', number)
end

local function waiting_of_tenant()
  local count = 0
  for _, queue in pairs(OWN) do count = count + redis.call('ZCARD', queue) end
  return count
end

-- Highest priority first, then by queue time, which a job keeps. A tenant that had none waiting comes in one turn after
-- the tenant that was served last: what it did not use is not saved up, and who comes again and again overtakes nobody.
local function enqueue(record)
  local score = (9 - tonumber(record.priority)) * 1e13 + tonumber(record.queued_at)
  redis.call('ZADD', QUEUED[record.kind], text(score), record.id)
  redis.call('ZADD', OWN[record.kind], text(score), record.id)
  if not redis.call('ZSCORE', TURNS, record.tenant) then
    local served = tonumber(redis.call('HGET', HELD, SERVED) or 0)
    redis.call('ZADD', TURNS, text6(served + 1 / (tonumber(record.weight) or 1)), record.tenant)
  end
end

local function leave_line(record)
  redis.call('ZREM', QUEUED[record.kind], record.id)
  redis.call('ZREM', OWN[record.kind], record.id)
  if waiting_of_tenant() == 0 then redis.call('ZREM', TURNS, record.tenant) end
end

local function leave_all(id)  -- whatever its record says, or does not
  for kind, queue in pairs(QUEUED) do
    redis.call('ZREM', queue, id)
    redis.call('ZREM', OWN[kind], id)
  end
end

local function hold(record, by)  -- how many of the tenant's jobs workers own
  if redis.call('HINCRBY', HELD, record.tenant, by) <= 0 then redis.call('HDEL', HELD, record.tenant) end
end

local function close_attempt(record, reason)  -- its owner is no more
  local attempts = cjson.decode(record.attempts)
  local last = attempts[#attempts]
  local ended = now()
  last.ended_at, last.reason, last.last_step = math.floor(ended / 1000), reason, tonumber(record.last_step)
  local used = ended - tonumber(record.claimed_at)
  local seconds = tonumber(record.device_seconds) + used / 1000
  count('device_ms', used)
  redis.call('HSET', JOB, 'attempts', cjson.encode(attempts), 'device_seconds', string.format('%.3f', seconds))
  redis.call('ZREM', RUNNING, record.id)
  hold(record, -1)
end

local function listens(webhook, to)
  for _, event in ipairs(cjson.decode(webhook).event_types) do
    if event == to then return true end
  end
  return false
end

-- Each webhook that listens gets a delivery; who claims it sends it. A tenant has so many at most, and then no more.
local function tell_webhooks(record, seconds)
  local event, found = 'fine_tuning.job.' .. record.status, redis.call('HGETALL', WEBHOOKS)
  for i = 1, #found, 2 do
    local readable, does = pcall(listens, found[i + 1], event)
    if readable and does then
      if redis.call('HLEN', DELIVERIES) >= TABLE.deliveries_cap then
        count('webhooks_dropped')
      else
        local id = 'whd-' .. found[i]:sub(#'wh-' + 1) .. '-' .. record.id:sub(#'ftjob-' + 1)
        redis.call('HSET', DELIVERIES, id, cjson.encode({id = id, webhook = found[i], job = record.id, event = event,
          created_at = tonumber(seconds), due_since = tonumber(seconds), next_attempt_at = tonumber(seconds)}))
        redis.call('ZADD', DUE, text(now()), record.tenant .. ' ' .. id)
      end
    end
  end
end

local function close_job(record)
  local seconds = text(math.floor(now() / 1000))
  redis.call('HSET', JOB, 'finished_at', seconds)
  redis.call('ZADD', ENDED, seconds, record.id)
  count(record.status)
  tell_webhooks(record, seconds)
end

-- The owner let go (or was lost): the job goes to where its wish leads. `counts` says that the attempt was lost;
-- too many of those in a row without a new checkpoint fail the job.
local function hand_back(record, code, message, counts)
  local to = TABLE.handed_back[record.status]
  local losses = tonumber(record.losses) + (counts and 1 or 0)
  if to == 'queued' and losses >= TABLE.losses_cap then
    to = 'failed'
    message = string.format('%d attempts in a row brought no new checkpoint. The last: %s', losses, message)
  end
  redis.call('HSET', JOB, 'losses', losses)
  count(counts and 'attempts_lost' or 'attempts_handed_on')
  close_attempt(record, code)
  raise_fence(record)
  if to == 'cancelled' then
    code, message = 'cancelled', 'Cancelled on request.'
  elseif to == 'paused' then
    code, message = 'paused', 'Paused on request.'
  end
  move(record, to, code, message, to == 'failed')
  if to == 'queued' then enqueue(record) end
  if TABLE.ended[to] then close_job(record) end
  local level = (to == 'failed' and 'error') or (counts and 'warn') or 'info'
  say(record, level, message, status_data(record))
end
