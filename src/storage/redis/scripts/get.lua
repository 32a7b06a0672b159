-- A value of up to ARGV[1] bytes; of a longer one its length. What is no value of ours is none.
local length = redis.pcall('STRLEN', KEYS[1])
if type(length) ~= 'number' then return false end
if length > tonumber(ARGV[1]) then return length end
return redis.call('GET', KEYS[1])
