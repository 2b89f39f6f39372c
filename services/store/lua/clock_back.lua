#!lua flags=allow-oom
-- Redis' clock went back, and leases and heartbeats end further ahead than any can: they are given their usual time
-- from now, which who lives renews. So are deliveries, which are looked at now.
-- KEYS 1 running jobs by the end of their lease, ms, 2 workers by last heartbeat, s, 3 deliveries by when they are due, ms
-- ARGV 1 a lease, ms, 2 how long a delivery may wait, ms · Answers ok, how many. Repeatable.
local time = redis.call('TIME')
local ms, count = time[1] * 1000 + math.floor(time[2] / 1000), 0
local function bring_back(key, to, beyond)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', beyond), '+inf')) do
    redis.call('ZADD', key, string.format('%.0f', to), member)
    count = count + 1
  end
end
bring_back(KEYS[1], ms + ARGV[1], ms + ARGV[1])
bring_back(KEYS[2], time[1], time[1])
bring_back(KEYS[3], ms, ms + ARGV[2])
return {'ok', tostring(count)}
