-- Removes the key if its value is ARGV[1]. How many were removed.
if redis.pcall('STRLEN', KEYS[1]) == #ARGV[1] and redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
