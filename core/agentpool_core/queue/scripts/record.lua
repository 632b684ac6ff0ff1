-- record: adds a point to the pool's history: its queue now and its workers as the operator knows them.
--
-- Two points are at least half a minute apart, whoever calls, and the stream holds those of an hour.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 desired workers, 2 ready workers; '': not known
-- Returns {'recorded'} | {'early'} | {'unknown_pool'}
-- Events none.

--- include: pool

local history = PREFIX .. 'history'
local APART_MS = 30000 -- between two points
local POINTS_MAX = 120 -- an hour of points
local COUNTED = { 'queued', 'running', 'started', 'finished', 'failed', 'attempts', 'run_ms', 'slots' } -- names in counters

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
return { 'recorded' }
