#!lua flags=allow-oom
-- Deliveries that are due, for whoever asks to see to until their lease ends. What is beyond a tenant's share comes again
-- a moment later, behind the others'.
-- KEYS 1 due · ARGV 1 lease ms, 2 how many, 3 how many of a tenant, 4 how many each tenant has under way (JSON), 5 the
-- moment, ms · Answers ok, Redis' time in s, tenant and delivery … Repeatable: what a lost reply held is claimed again
-- after its lease.
local time = redis.call('TIME')
local now, under_way = time[1] * 1000 + math.floor(time[2] / 1000), cjson.decode(ARGV[4])
local answer = {'ok', time[1]}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  if #answer - 2 >= tonumber(ARGV[2]) then break end
  local tenant = member:match('^[^ ]*')
  local has = under_way[tenant] or 0
  if has < tonumber(ARGV[3]) then
    under_way[tenant] = has + 1
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), member)
    answer[#answer + 1] = member
  else
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[5]), member)
  end
end
return answer
