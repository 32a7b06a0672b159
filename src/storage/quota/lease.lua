-- Leases tokens of one limit and key; the same as Record::lease in record.rs, which says why.
-- KEYS: the record, a hash: `start`, `end`, `recovering` (until when), and for each claimant its last number and what it holds.
-- ARGV: claimant, number, window start, window end (0: none), claim, granted (0 or 1), want, limit, period, replicas, rank,
-- lost (0 or 1).
-- Returns {0} for a stale call, else {1, window start, window end, left, carried, forgotten, grant, rest}; times are microseconds.
local MAX, BACK = 4503599627370496, 1000000
local function text(number) return string.format('%.0f', number) end
local function whole(value)
  local number = value and string.match(value, '^%d+$') and tonumber(value)
  return number and number <= MAX and number or nil
end

local key, claimant = KEYS[1], 'c' .. ARGV[1]
local number, known_start, known_end = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local claim, granted, want = math.min(tonumber(ARGV[5]), MAX), ARGV[6] == '1', tonumber(ARGV[7])
local limit, period = math.min(tonumber(ARGV[8]), MAX), math.min(math.max(tonumber(ARGV[9]), 1), MAX)
local replicas, lost = math.max(tonumber(ARGV[10]), 1), ARGV[12] == '1'
local rank = math.min(tonumber(ARGV[11]), replicas - 1)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local open = known_end > now
local carried = known_end == 0 or open
local function starting()
  if open and known_start <= now and known_end - known_start <= period then
    return known_start, known_end
  end
  return now, now + period
end

-- What cannot be read is as good as lost: someone else wrote it.
local first, last, recovering = nil, nil, 0
local numbers, held = {}, {}
local fields = redis.pcall('HGETALL', key)
local sound = not fields.err
for i = 1, sound and #fields or 0, 2 do
  local name, value = fields[i], fields[i + 1]
  if name == 'start' then first = whole(value)
  elseif name == 'end' then last = whole(value)
  elseif name == 'recovering' then recovering = whole(value) or 0
  else
    local n, h = string.match(value, '^(%d+) (%d+)$')
    numbers[name], held[name] = whole(n), whole(h)
    sound = sound and numbers[name] ~= nil and held[name] ~= nil
  end
end
local empty = sound and #fields == 0
if empty or not (sound and first and last and first < last) then
  if not empty then redis.call('DEL', key) end
  first, last = starting()
  recovering = lost and last or 0
  numbers, held = {}, {}
end

if now >= last then
  if now - last < period then first = last else first = now end
  last = first + period
  recovering = 0
  numbers, held = {}, {}
  redis.call('DEL', key)
elseif now < first or last - first > period then
  first, last = now, now + math.min(last - first, period)
  redis.call('HSET', key, 'start', text(first), 'end', text(last))
end

local known = numbers[claimant]
if known and number <= known then return {0} end
if not carried then claim = 0 end
local forgotten = not known and open and claim > 0 and granted
local alone = not known and claim > 0 and not granted
if forgotten then recovering = math.max(recovering, last) elseif alone then recovering = math.max(recovering, now + BACK) end
local count, others = known and 0 or 1, 0
for name, tokens in pairs(held) do
  count = count + 1
  if name ~= claimant then others = others + tokens end
end

local rest = math.max(limit - others - claim, 0)
local share = math.min(math.max(math.floor(rest / (2 * replicas)), 1), rest)
local grant = math.min(want, share)
if now < recovering and count < replicas then
  grant = math.min(grant, math.max(math.floor((limit + rank) / replicas) - claim, 0))
end
redis.call('HSET', key, 'start', text(first), 'end', text(last), 'recovering', text(recovering),
  claimant, text(number) .. ' ' .. text(claim + grant))
redis.call('PEXPIRE', key, math.ceil((last + (last - first) - now) / 1000))
return {1, first, last, last - now, carried and 1 or 0, forgotten and 1 or 0, grant, rest - grant}
