-- Stores the value ARGV[2] if ARGV[1], a version of 20 digits, is above that of what is stored. Whether it did.
-- What is stored in another form is not ours, and gives way.
local fields = redis.pcall('HMGET', KEYS[1], 'version')
local stored = not fields.err and fields[1]
if stored and string.match(stored, '^%d+$') and #stored == 20 and stored >= ARGV[1]
  and redis.call('HEXISTS', KEYS[1], 'value') == 1 then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
return 1
