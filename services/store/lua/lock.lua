#!lua flags=allow-oom
-- One holder at a time, for a while. KEYS 1 the lock · ARGV 1 holder, 2 ms · Answers ok · refused
return {redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 'ok' or 'refused'}
