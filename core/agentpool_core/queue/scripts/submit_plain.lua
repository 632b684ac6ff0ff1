-- submit_plain: stores one job that only needs to be queued. The short form of submit.lua, with few commands and without
-- parts, because a job's way to an idle worker includes this script.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 id, 2 kind, 3 priority, 4 maxAttempts|timeoutMs|flags, 5 payload (JSON)
-- Returns the depth before | OTHER or TTL: nothing was written, and submit.lua must decide. OTHER: the first job of its
--        route, a known id, an unreadable counter, a full, retired or unknown pool, a refused kind, a kind with a schema,
--        or a critical job (which may preempt). TTL: the pool gives this priority a ttl. All replies are numbers, because a table costs
--        the server as much as two commands
-- Events queued.

local PRESSURE_EVERY_MS = 100 -- as in lib/pool.lua, like EVENTS_MAX
local EVENTS_MAX = 10000
local OTHER, TTL = -1, -2
local WHOLE = '^%-?%d+$' -- a whole number, as is_whole in lib/pool.lua
local find = string.find -- ten calls of a Lua function cost as much as one command

local id, kind, priority = ARGV[1], ARGV[2], ARGV[3]
local prefix = string.sub(KEYS[1], 1, -5)
local conf = redis.call('HMGET', KEYS[1], 'max_depth', 'ttl_' .. priority .. '_ms', 'paused', 'route:' .. kind,
  'retired', 'refuse_unlisted_kinds', 'schema:' .. kind)
if conf[2] and conf[2] ~= '' then return TTL end
if conf[7] or priority == 'critical' or not conf[1] or conf[5] == '1' or (not conf[4] and conf[6] == '1') then return OTHER end

local route = conf[4] or 'default'
local place = ':' .. route .. ':' .. priority
local counters = prefix .. 'counters'
local v = redis.call('HMGET', counters, 'queued', 'q' .. place, 'submitted', 'slots', 'running', 'pressure_at',
  'clock_offset_ms', 'clock_ahead_ms', 'c' .. place, 'cordoned',
  'held')
if not v[9] or v[10] then return OTHER end
for i = 1, 8 do
  if v[i] and not find(v[i], WHOLE) then return OTHER end -- submit.lua resets an unreadable counter
end
local queued = tonumber(v[1] or 0)
local depth = queued + (tonumber(v[11] or 0) or 0)
local key = prefix .. 'job:' .. id
-- Usually none of the keys exists. One command then replaces three: the call itself costs more than its work.
if redis.call('EXISTS', prefix .. 'due', prefix .. 'blocked', key) > 0 then
  if redis.pcall('HMGET', key, 'state')[1] then return OTHER end
  depth = depth + redis.call('ZCARD', prefix .. 'due') + redis.call('SCARD', prefix .. 'blocked')
end
if not find(conf[1], WHOLE) or depth >= tonumber(conf[1]) then return OTHER end

local label = kind .. '|' .. route .. '|' .. priority
local entry = redis.call('XADD', prefix .. 's' .. place, '*', 'job', id)
redis.call('HSET', key, 'state', 'queued', 'spec', label .. '|' .. ARGV[4], 'payload', ARGV[5], 'entry', entry)
redis.call('XADD', prefix .. 'events', 'MAXLEN', '~', EVENTS_MAX, '*', '0', 'queued ' .. id .. ' ' .. label .. ' 0  ')
redis.call('HSET', counters, 'queued', queued + 1, 'q' .. place, (v[2] or 0) + 1, 'submitted', (v[3] or 0) + 1)
if conf[3] == '1' then return depth end

if redis.call('LLEN', prefix .. 'bell') == 0 then redis.call('RPUSH', prefix .. 'bell', '1') end
if queued + 1 > (v[4] or 0) - (v[5] or 0) then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000) + (v[7] or 0) + (v[8] or 0)
  if now - (v[6] or 0) >= PRESSURE_EVERY_MS then
    redis.call('HSET', counters, 'pressure_at', now)
    -- some users lack the permission: see lib/announce.lua
    redis.pcall('PUBLISH', string.match(prefix, '^ap:{[^/]*/') .. '}:pressure', string.match(prefix, '{(.*)}'))
  end
end
return depth
