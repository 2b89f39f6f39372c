#!lua flags=allow-oom
-- What the autoscaler saw, and what it did about it. KEYS 1 the state, 2 the decisions, 3 totals
-- ARGV 1 state, 2 how many decisions are kept, 3… triples of a decision, a name to count, by how much · Answers ok
redis.call('SET', KEYS[1], ARGV[1])
for i = 3, #ARGV, 3 do
  redis.call('LPUSH', KEYS[2], ARGV[i])
  redis.call('HINCRBY', KEYS[3], ARGV[i + 1], ARGV[i + 2])
end
redis.call('LTRIM', KEYS[2], 0, ARGV[2] - 1)
return {'ok'}
