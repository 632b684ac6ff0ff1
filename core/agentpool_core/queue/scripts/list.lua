-- list: jobs that wait, run or are dead, oldest first within each stream. Reads only.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 state (queued, scheduled, blocked, running, failed), 2 limit
-- Returns {[id, [field, value, ...]], ...}
-- Events none.

--- include: pool

local state, limit = ARGV[1], tonumber(ARGV[2])
local ids = {}

local function from_streams(take)
  for _, field in ipairs(redis.call('HKEYS', BOOKS)) do
    local place = string.match(field, '^c:(.+)$')
    if place then take(PREFIX .. 's:' .. place, redis.call('HGET', BOOKS, field)) end
  end
end

local SCAN_MAX = 10000 -- entries of one stream that are looked at: places of jobs that ended in the queue stay a while

local function is_in_state(id)
  return redis.pcall('HGET', PREFIX .. 'job:' .. id, 'state') == state
end

local function of_entry(stream, entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if found then ids[#ids + 1] = found[2][2] end
end

-- Entries that nobody has claimed yet, up to `limit` of which the job still waits.
local function never_delivered(stream, cursor)
  local found, seen = 0, 0
  while found < limit and seen < SCAN_MAX do
    local page = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', limit)
    if #page == 0 then return end
    for _, entry in ipairs(page) do
      cursor = entry[1]
      seen = seen + 1
      if is_in_state(entry[2][2]) then
        ids[#ids + 1] = entry[2][2]
        found = found + 1
      end
    end
  end
end

-- What workers hold of a stream, the oldest first. Asked of each worker: what waits for its retry is pending, too.
local function held(stream, workers)
  local entries = {}
  for _, worker in ipairs(workers) do
    for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', limit, worker)) do
      entries[#entries + 1] = item[1]
    end
  end
  table.sort(entries, function(a, b) return id_after(b, a) end)
  for i = 1, math.min(limit, #entries) do of_entry(stream, entries[i]) end
end

if state == 'scheduled' then
  ids = redis.call('ZRANGE', DUE, 0, limit - 1)
elseif state == 'failed' then
  ids = redis.call('ZRANGE', DEAD, 0, limit - 1)
elseif state == 'blocked' then
  ids = redis.call('SRANDMEMBER', BLOCKED, limit)
elseif state == 'queued' then
  from_streams(function(stream, cursor)
    for _, holder in ipairs({ READY, SUSPECT }) do
      for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', limit, holder)) do of_entry(stream, item[1]) end
    end
    never_delivered(stream, cursor)
  end)
else
  local workers = redis.call('ZRANGE', WORKERS, 0, -1)
  from_streams(function(stream) held(stream, workers) end)
end

local jobs = {}
for _, id in ipairs(ids) do
  if #jobs >= limit then break end
  if is_in_state(id) then jobs[#jobs + 1] = { id, redis.call('HGETALL', PREFIX .. 'job:' .. id) } end
end
return jobs
