#!lua flags=allow-oom
-- Deliveries that are due, for whoever asks to see to until their lease ends. A tenant and a webhook have a share; what is
-- beyond it comes later, and where so much is due that others may stand behind it, a moment later, in the same order.
-- KEYS 1 due, 2 when a sender last found some · ARGV 1 lease ms, 2 how many, 3 how many of a tenant, 4 of a webhook, 5 the
-- moment, ms, 6 … what is under way · Answers ok, Redis' time in s, tenant and delivery … Repeatable: what a lost reply held
-- is claimed again after its lease.
local LOOKED_AT = 1000
local time = redis.call('TIME')
local now, answer = time[1] * 1000 + math.floor(time[2] / 1000), {'ok', time[1]}

local under_way = {}
local function owners(member)  -- "tenant whd-hook-job": the tenant, and its webhook
  return member:match('^[^ ]*'), member:match('^(.*)%-')
end
local function count(member)
  for _, owner in ipairs({owners(member)}) do under_way[owner] = (under_way[owner] or 0) + 1 end
end
local function has_share(member)
  local tenant, webhook = owners(member)
  return (under_way[tenant] or 0) < tonumber(ARGV[3]) and (under_way[webhook] or 0) < tonumber(ARGV[4])
end
for i = 6, #ARGV do count(ARGV[i]) end

local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, LOOKED_AT)
if #found > 0 then redis.call('SET', KEYS[2], string.format('%.0f', now), 'PX', 86400000) end
for position, member in ipairs(found) do
  if #answer - 2 >= tonumber(ARGV[2]) then break end
  if has_share(member) then
    count(member)
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), member)
    answer[#answer + 1] = member
  elseif #found == LOOKED_AT then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[5]) + position, member)
  end
end
return answer
