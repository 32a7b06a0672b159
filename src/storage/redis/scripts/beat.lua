-- Says that a member lives. Members, what they said of themselves and how long ago in microseconds, one after the
-- other. ARGV: member, what it says, for how long that counts in microseconds, how many members, bytes of a name,
-- bytes of what one says.
local key, self, counts = KEYS[1], ARGV[1], tonumber(ARGV[3])
local max, name_max, value_max = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local length = redis.pcall('HLEN', key)
if type(length) ~= 'number' or length > 2 * max then redis.call('DEL', key) end
redis.call('HSET', key, self, string.format('%.0f ', now) .. ARGV[2])
redis.call('PEXPIRE', key, math.ceil(counts / 1000))
local fields = redis.call('HGETALL', key)
local found, left = {}, max - 1
for i = 1, #fields, 2 do
  local name, text = fields[i], fields[i + 1]
  local said, from = string.match(text, '^(%d+) ()')
  local age = said and now - tonumber(said)
  -- A clock that was set back makes members young, not immortal.
  local lives = age and age < counts and age > -counts and #name <= name_max and #text - from + 1 <= value_max
  if not lives then
    redis.call('HDEL', key, name)
  elseif name == self or left > 0 then
    if name ~= self then left = left - 1 end
    found[#found + 1] = name
    found[#found + 1] = string.sub(text, from)
    found[#found + 1] = math.max(age, 0)
  end
end
return found
