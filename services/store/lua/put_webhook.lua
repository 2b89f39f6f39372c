#!lua
-- A webhook, new or changed. KEYS 1 the tenant's webhooks · ARGV 1 id, 2 what it is (JSON), 3 how many it may have; 0
-- where it must be there already · Answers ok · refused (it has as many) · gone. Repeatable.
local known, most = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1, tonumber(ARGV[3])
if not known and most == 0 then return {'gone'} end
if not known and redis.call('HLEN', KEYS[1]) >= most then return {'refused'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'ok'}
