-- The version and the value; of a value of more than ARGV[1] bytes its length.
local length = redis.pcall('HSTRLEN', KEYS[1], 'value')
if type(length) ~= 'number' or redis.call('HSTRLEN', KEYS[1], 'version') ~= 20 then return false end
local version = redis.call('HGET', KEYS[1], 'version')
if length > tonumber(ARGV[1]) then return {version, length} end
local value = redis.call('HGET', KEYS[1], 'value')
return value and {version, value}
