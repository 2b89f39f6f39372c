#!lua flags=allow-oom
-- What was given up of a webhook is due again, all of it, from the beginning.
-- KEYS 1 the tenant's deliveries, 2 due · ARGV 1 tenant, 2 how the webhook's deliveries begin · Answers ok, ids …
-- Repeatable: what is due already is left as it is.
local time, answer = redis.call('TIME'), {'ok'}
local seconds, now = tonumber(time[1]), time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  local id = known[i]
  if id:sub(1, #ARGV[2]) == ARGV[2] then
    local readable, delivery = pcall(cjson.decode, known[i + 1])
    if readable and delivery.status == 'failed' then
      delivery.status, delivery.attempts, delivery.due_since, delivery.next_attempt_at = 'pending', 0, seconds, seconds
      redis.call('HSET', KEYS[1], id, cjson.encode(delivery))
      redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1] .. ' ' .. id)
      answer[#answer + 1] = id
    end
  end
end
return answer
