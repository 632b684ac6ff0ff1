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

local function of_entry(stream, entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if found then ids[#ids + 1] = found[2][2] end
end

if state == 'scheduled' then
  ids = redis.call('ZRANGE', DUE, 0, limit - 1)
elseif state == 'failed' then
  ids = redis.call('ZRANGE', DEAD, 0, limit - 1)
elseif state == 'blocked' then
  ids = redis.call('SRANDMEMBER', BLOCKED, limit)
elseif state == 'queued' then
  from_streams(function(stream, cursor)
    for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', limit, READY)) do
      of_entry(stream, item[1])
    end
    for _, entry in ipairs(redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', limit)) do
      ids[#ids + 1] = entry[2][2]
    end
  end)
else
  from_streams(function(stream)
    for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', limit)) do
      if string.sub(item[2], 1, 1) ~= '~' then of_entry(stream, item[1]) end
    end
  end)
end

local jobs = {}
for _, id in ipairs(ids) do
  if #jobs >= limit then break end
  local key = PREFIX .. 'job:' .. id
  if redis.call('HGET', key, 'state') == state then jobs[#jobs + 1] = { id, redis.call('HGETALL', key) } end
end
return jobs
