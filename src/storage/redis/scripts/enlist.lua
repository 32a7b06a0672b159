-- Enters a member at the end of a list, unless it is there. Those that went, oldest first.
-- ARGV: member, how many stay, how long one stays in microseconds, how many are told of at most, bytes of a member.
local key, member, max, stay = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = redis.pcall('ZREVRANGE', key, 0, 0, 'WITHSCORES')
if last.err then
  redis.call('DEL', key)
  last = {}
end
-- Two that come within the same microsecond keep their order.
local after = tonumber(last[2])
if after and after >= now and after < now + 1000000 then
  redis.call('ZADD', key, 'NX', string.format('%.0f', after + 1), member)
else
  redis.call('ZADD', key, 'NX', string.format('%.0f', now), member)
end
redis.call('PEXPIRE', key, math.ceil(stay / 1000))
local old = redis.call('ZCOUNT', key, '-inf', string.format('%.0f', now - stay))
local count = math.min(math.max(old, redis.call('ZCARD', key) - max), tonumber(ARGV[4]))
local gone = {}
if count > 0 then
  local members = redis.call('ZRANGE', key, 0, count - 1)
  redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
  for _, name in ipairs(members) do
    if #name <= tonumber(ARGV[5]) then gone[#gone + 1] = name end
  end
end
return gone
