-- purge: deletes a pool, a bounded part at each call. The settings go first, which stops submits.
--
-- Deletes the jobs that the pool's own keys name: waiting, running and ended jobs. Orders and inboxes expire by themselves.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 limit: approximate number of jobs deleted in one call
-- Returns {keys deleted, 1: call again | 0: nothing is left}
-- Events none.

--- include: pool
--- include: schedules

local EVENTS_AN_ENTRY = 50 -- as in lib/jobs.lua
local left = tonumber(ARGV[1])
local gone = 0

local function delete(names)
  gone = gone + redis.call('UNLINK', unpack(names))
end

-- Usage of the days that are kept, and of a day around them: clocks may differ.
local function delete_usage()
  local names, today = {}, math.floor(now / 86400000)
  for day = today - 63, today + 1 do names[#names + 1] = PREFIX .. 'usage:' .. string.format('%.0f', day) end
  delete(names)
end

-- A record may have a wrong type or any content: unreadable fields are ignored.
local function delete_job(id)
  local key = PREFIX .. 'job:' .. id
  local names = { key, PREFIX .. 'kids:' .. id, PREFIX .. 'chunks:' .. id, PREFIX .. 'started:' .. id, PREFIX .. 'group:' .. id, PREFIX .. 'downstream:' .. id }
  local v = redis.pcall('HMGET', key, 'idem', 'watch', 'holds', 'tenant', 'spec')
  if v[1] then names[#names + 1] = PREFIX .. 'key:' .. string.match(v[1], '^%S*') end
  for client in string.gmatch(v[2] or '', '%S+') do names[#names + 1] = PREFIX .. 'inbox:' .. client end
  for bucket in string.gmatch(v[3] or '', '%S+') do names[#names + 1] = PREFIX .. 'using:' .. bucket end
  local place = string.match(v[5] or '', '^[^|]+|([^|]+|%a+)|')
  if v[4] and place then names[#names + 1] = PREFIX .. 'line:' .. string.gsub(place, '|', ':') .. ':' .. redis.sha1hex(v[4]) end
  delete(names)
  left = left - 1
end

local function from_stream(stream)
  if left <= 0 then return end
  local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', left)
  local seen = {}
  for _, entry in ipairs(entries) do
    seen[#seen + 1] = entry[1]
    delete_job(entry[2][2])
  end
  each_slice(seen, 'XDEL', stream)
  local place = string.sub(stream, #PREFIX + 2)
  if left > 0 then delete({ stream, PREFIX .. 'turns' .. place, PREFIX .. 'tags' .. place, PREFIX .. 'line' .. place .. ':-' }) end
end

local function from_streams()
  for _, field in ipairs(redis.call('HKEYS', COUNTERS)) do
    local place = string.match(field, '^c:(.+)$')
    if place then from_stream(PREFIX .. 's:' .. place) end
  end
end

local function from_order(order)
  if left <= 0 then return end
  local ids = redis.call('ZRANGE', order, 0, left - 1)
  for _, id in ipairs(ids) do delete_job(id) end
  each_slice(ids, 'ZREM', order)
end

local function from_blocked()
  if left <= 0 then return end
  local ids = redis.call('SRANDMEMBER', BLOCKED, left)
  for _, id in ipairs(ids) do delete_job(id) end
  each_slice(ids, 'SREM', BLOCKED)
end

local function from_ended(state)
  if left <= 0 then return end
  local seen = {}
  for _, entry in ipairs(redis.call('XRANGE', ENDED .. state, '-', '+', 'COUNT', math.ceil(left / EVENTS_AN_ENTRY))) do
    seen[#seen + 1] = entry[1]
    for id in string.gmatch(entry[2][2], '%S+') do delete_job(id) end
  end
  each_slice(seen, 'XDEL', ENDED .. state)
  if #seen > 0 then left = 0 end -- more entries may be left
end

local function from_events()
  if left <= 0 then return end
  local seen = {}
  for _, entry in ipairs(redis.call('XRANGE', EVENTS, '-', '+', 'COUNT', math.ceil(left / EVENTS_AN_ENTRY))) do
    seen[#seen + 1] = entry[1]
    for i = 2, #entry[2], 2 do
      local id = string.match(entry[2][i], '^%S+ (%S+)')
      if id then delete_job(id) end
    end
  end
  each_slice(seen, 'XDEL', EVENTS)
  if #seen > 0 then left = 0 end -- more events may be left
end

local function from_limited()
  if left <= 0 then return end
  local buckets = redis.call('ZRANGE', LIMITED, 0, left - 1)
  for _, bucket in ipairs(buckets) do delete({ PREFIX .. 'held:' .. bucket, PREFIX .. 'using:' .. bucket }) end
  each_slice(buckets, 'ZREM', LIMITED)
  left = left - #buckets
end

local function delete_the_rest()
  for _, worker in ipairs(redis.call('HKEYS', WORKER_INFO)) do delete({ PREFIX .. 'ctl:' .. worker }) end
  for _, worker in ipairs(redis.call('ZRANGE', WORKERS, 0, -1)) do delete({ PREFIX .. 'ctl:' .. worker }) end
  for _, state in ipairs({ 'succeeded', 'cancelled', 'expired' }) do delete({ ENDED .. state }) end
  delete_usage()
  delete({ schedules.defined, schedules.due, schedules.last, schedules.paused, PREFIX .. 'outbox', PREFIX .. 'history', PREFIX .. 'quarters' })
  delete({ COUNTERS, DUE, TTL, DEAD, BLOCKED, WAITING, RELEASING, PREFIX .. 'stopping', PREFIX .. 'restoring', YIELD, SUSPECTS, LIMITED, LIMIT_TIMES, LIMIT_OVERRIDES, WORKERS, WORKER_INFO, WORKER_KINDS, BELL, EVENTS })
end

delete({ CONF })
from_streams()
for _, order in ipairs({ DUE, WAITING, TTL, DEAD, YIELD, SUSPECTS }) do from_order(order) end
from_blocked()
from_limited()
for _, state in ipairs({ 'succeeded', 'cancelled', 'expired' }) do from_ended(state) end
from_events()
if left > 0 then delete_the_rest() end
return { gone, left > 0 and 0 or 1 }
