#!lua flags=allow-oom
-- One holder at a time, which may renew. KEYS 1 the lock · ARGV 1 holder, 2 ms · Answers ok · refused
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end  -- Redis' clock went back
  return {'refused'}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'ok'}
