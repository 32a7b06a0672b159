-- Takes up to ARGV[1] members off a list, oldest first; those of more than ARGV[2] bytes are not told of.
local members = redis.pcall('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
if members.err then
  redis.call('DEL', KEYS[1])
  return {}
end
local gone = {}
for _, name in ipairs(members) do
  redis.call('ZREM', KEYS[1], name)
  if #name <= tonumber(ARGV[2]) then gone[#gone + 1] = name end
end
return gone
