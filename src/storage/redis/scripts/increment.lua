-- Adds one, for ARGV[1] milliseconds. What is no number, or none that we made, is begun anew.
local number = redis.pcall('INCR', KEYS[1])
if type(number) ~= 'number' or number < 1 or number > 4503599627370496 then
  number = 1
  redis.call('SET', KEYS[1], number)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return number
