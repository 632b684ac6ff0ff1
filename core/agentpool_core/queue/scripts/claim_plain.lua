-- claim_plain: leases the only ready job to an idle worker. The short form of claim.lua, with few commands and without
-- parts, because a job that rang the bell waits for this script.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 first place to read: ':route:priority' of the worker's last job, or ''
-- Returns as claim.lua | {'other'}: nothing was written, and claim.lua must decide: several ready jobs, a requeued job,
--        tombstones, a route at its limit, limits of the pool, a paused route, flags, a pause, a cordon, a worker reserved for a suspect, or a lost lease
-- Events started.

local EVENTS_MAX = 10000 -- as in lib/pool.lua
local OTHER = { 'other' }
local WHOLE = '^%-?%d+$' -- a whole number, as is_whole in lib/pool.lua
local find = string.find

local function setting_or(text, default)
  return text and find(text, WHOLE) and tonumber(text) or default
end

local prefix = string.sub(KEYS[1], 1, -5)
local counters_key = prefix .. 'counters'
local worker = ARGV[1]

-- Returns the place of the only ready job; nil: none.
local function find_ready_place()
  local flat = redis.call('HGETALL', counters_key)
  for i = 1, #flat, 2 do
    local place = flat[i + 1] ~= '0' and string.match(flat[i], '^q(:.+:%a+)$')
    if place then return place end
  end
end

local function counters_of(place)
  local route = string.match(place, '^:(.+):%a+$') or ''
  return redis.call('HMGET', counters_key, 'queued', 'q' .. place, 't' .. place, 'c' .. place, 'd' .. place, 'running',
    'started', 'r:' .. route, 'clock_offset_ms', 'x:' .. worker, 'clock_ahead_ms', 'alone', 'p:' .. route), route
end

local place = ARGV[2]
local counters, route = counters_of(place)
if counters[1] ~= '1' then return OTHER end
if counters[2] ~= '1' then
  place = find_ready_place()
  if not place then return OTHER end
  counters, route = counters_of(place)
end
if counters[2] ~= '1' or (counters[3] or '0') ~= '0' or counters[5] or counters[10] or counters[12] then return OTHER end
if counters[13] then return OTHER end -- an overloaded handler has paused the route

for i = 6, 11 do
  if i ~= 10 and counters[i] and not find(counters[i], WHOLE) then return OTHER end -- claim.lua resets an unreadable counter
end
local cursor, running = counters[4], tonumber(counters[8] or 0)
local conf = redis.call('HMGET', KEYS[1], 'revision', 'paused', 'max_attempts', 'timeout_ms', 'limit:' .. route, 'limits',
  'cost:' .. route)
local expiry = redis.call('ZSCORE', prefix .. 'workers', worker)
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000) + (counters[9] or 0) -- only tests set an offset
local now = clock + (counters[11] or 0)
if conf[7] or (conf[6] and conf[6] ~= '[]') then return OTHER end
if not conf[1] or conf[2] == '1' or not expiry or tonumber(expiry) <= now then return OTHER end
if running >= setting_or(conf[5], math.huge) then return OTHER end

local stream = prefix .. 's' .. place
local head = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', 1)[1]
if not head then return OTHER end
local entry, id = head[1], head[2][2]
local key = prefix .. 'job:' .. id
local v = redis.pcall('HMGET', key, 'state', 'spec', 'payload', 'entry', 'lease')
if v[1] ~= 'queued' or v[4] ~= entry or v[5] or not v[2] then return OTHER end
local label, where = string.match(v[2], '^([^|]+(|[^|]+|%a+))|%d*|%d*|$')
if not label or where ~= string.gsub(place, ':', '|') then return OTHER end

-- Returns whether the group has delivered the entry of the job. Otherwise a hand has changed or destroyed the group: a
-- delivered entry is requeued, and maintenance finds its place.
local function has_delivered()
  local read = redis.pcall('XREADGROUP', 'GROUP', 'pool', worker, 'COUNT', 1, 'STREAMS', stream, '>')
  local found = read and not read.err and read[1][2][1]
  if found and found[1] ~= entry then redis.call('XCLAIM', stream, 'pool', '~ready', 0, found[1], 'JUSTID') end
  return found and found[1] == entry
end

if not has_delivered() then return OTHER end
local lease = '1 1 ' .. string.format('%.0f', now) .. ' ' .. worker
redis.call('HSET', key, 'state', 'running', 'lease', lease)
redis.call('HSET', counters_key, 'c' .. place, entry, 'queued', 0, 'q' .. place, 0, 'r:' .. route, running + 1,
  'running', (counters[6] or 0) + 1, 'started', (counters[7] or 0) + 1)
redis.call('XADD', prefix .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', '0',
  'started ' .. id .. ' ' .. label .. ' 1 ' .. worker .. ' ')
return { 'ok', conf[1], clock, setting_or(conf[3], 5), setting_or(conf[4], 900000), id, lease, entry, v[2], v[3], '' }
