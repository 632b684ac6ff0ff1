-- record: adds a point to the pool's history: its queue now and its workers as the operator knows them.
--
-- Two points are at least half a minute apart, whoever calls, and the stream holds those of an hour. From the points of
-- a quarter of an hour follows a value of the stream `quarters`, which holds 15 days.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 desired workers, 2 ready workers; '': not known; 3 '1': the pool learns patterns
-- Returns {'recorded'} | {'early'} | {'unknown_pool'}
-- Events none.

--- include: pool

local history = PREFIX .. 'history'
local APART_MS = 30000 -- between two points
local POINTS_MAX = 120 -- an hour of points
local quarters = PREFIX .. 'quarters'
local QUARTER_MS = 900000
local QUARTERS_MAX = 1440 -- 15 days
local LEAST_POINTS = 10 -- of a quarter: with fewer, its load is not known
local COUNTED = { 'queued', 'running', 'started', 'finished', 'failed', 'attempts', 'run_ms', 'slots' } -- names in counters

local function id_of(ms) return string.format('%.0f-0', ms) end

-- Returns the mean number of running jobs of the points.
local function mean_running(points)
  local sum = 0
  for _, point in ipairs(points) do
    sum = sum + number_or(pairs_of(point[2]).running, 0)
  end
  return sum / #points
end

-- Adds the latest whole quarter, once.
local function add_quarter()
  local from = (math.floor(now / QUARTER_MS) - 1) * QUARTER_MS
  local newest = redis.pcall('XREVRANGE', quarters, '+', '-', 'COUNT', 1)
  if newest.err then return end -- no stream: a foreign program has written the key
  if newest[1] and id_parts(newest[1][1]) >= from then return end
  local points = redis.call('XRANGE', history, id_of(from), id_of(from + QUARTER_MS - 1))
  if #points < LEAST_POINTS then return end
  redis.call('XADD', quarters, 'MAXLEN', QUARTERS_MAX, id_of(from), 'running', string.format('%.2f', mean_running(points)))
end

if redis.call('EXISTS', CONF) == 0 then return { 'unknown_pool' } end
local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
local newest_ms = newest and id_parts(newest[1]) or 0
if now - newest_ms < APART_MS then return { 'early' } end
local counted = redis.call('HMGET', COUNTERS, unpack(COUNTED))
local fields = {}
for i, name in ipairs(COUNTED) do
  fields[#fields + 1] = name
  fields[#fields + 1] = string.format('%.0f', number_or(counted[i], 0))
end
for i, name in ipairs({ 'desired', 'ready' }) do
  fields[#fields + 1] = name
  fields[#fields + 1] = ARGV[i]
end
redis.call('XADD', history, 'MAXLEN', POINTS_MAX, now_text .. '-0', unpack(fields))
if ARGV[3] == '1' then add_quarter() end
return { 'recorded' }
