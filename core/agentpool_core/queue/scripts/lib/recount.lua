-- Recounts the counters from the streams and the leases. Scripts keep counters and streams consistent, but Redis can lose
-- single keys, for example by eviction.
--
-- Pending entries count by their consumer. An undelivered entry is a ready job or a tombstone, which only the record shows.
-- Records are read if the counters name tombstones or do not match the stream.

--- include: jobs
--- include: holding
--- include: limits

-- Finds streams of the pool's routes that have no cursor among the counters.
local function find_streams(counters, fix)
  local readable, routes = pcall(cjson.decode, redis.call('HGET', CONF, 'routes') or '[]')
  for _, route in ipairs(readable and type(routes) == 'table' and routes or {}) do
    for priority in pairs(jobs.PRIORITIES) do
      local place = ':' .. tostring(type(route) == 'table' and route.name) .. ':' .. priority
      local cursor = not counters['c' .. place] and jobs.cursor_of(PREFIX .. 's' .. place)
      if cursor then
        counters['c' .. place] = cursor
        fix('c' .. place, nil, cursor)
      end
    end
  end
end

-- Returns the counts of a place: ready, suspects, running, undelivered, held, in lines; nil: Redis has lost the stream.
local function count_place(stream, kept)
  local pending = redis.pcall('XPENDING', stream, GROUP)
  if pending.err then return nil end
  local ready, suspects, running, held, lined = 0, 0, 0, 0, 0
  for _, each in ipairs(pending[4] or {}) do
    if each[1] == READY then ready = tonumber(each[2])
    elseif each[1] == SUSPECT then suspects = tonumber(each[2])
    elseif each[1] == HELD then held = tonumber(each[2])
    elseif each[1] == LINED then lined = tonumber(each[2])
    elseif string.sub(each[1], 1, 1) ~= '~' then running = running + tonumber(each[2]) end
  end
  local undelivered = redis.call('XLEN', stream) - pending[1] - (kept and 1 or 0)
  return ready, suspects, running, math.max(0, undelivered), held, lined
end

-- Returns how many undelivered entries are tombstones. `reported`: the counter, used for entries beyond the first page.
local function count_tombstones(stream, cursor, reported, undelivered)
  local LOOK_MAX = 1000 -- undelivered entries of one stream whose records are read
  local ready = 0
  local page = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', LOOK_MAX)
  for _, entry in ipairs(page) do
    local state = redis.pcall('HGET', PREFIX .. 'job:' .. entry[2][2], 'state')
    if state and not jobs.ENDS[state] then ready = ready + 1 end -- also a job that only a claim can resolve
  end
  if #page >= undelivered then return undelivered - ready end
  return math.max(0, math.min(reported, undelivered - ready))
end

-- Counts the jobs that wait for each limit, if the counters do not add up to the jobs that are held.
local function count_waiting(counters, right)
  local sum = 0
  for field, count in pairs(counters) do
    if string.match(field, '^w:') then sum = sum + number_or(count, 0) end
  end
  if sum == right.held then return end
  for field in pairs(counters) do
    if string.match(field, '^w:') then right[field] = 0 end
  end
  for _, bucket in ipairs(redis.call('ZRANGE', LIMITED, 0, -1)) do
    local field = 'w:' .. holding.name_of(bucket)
    right[field] = (right[field] or 0) + redis.call('ZCOUNT', PREFIX .. 'held:' .. bucket, '0', '+inf')
  end
end

-- Calls fix(field, actual, correct) for each wrong counter.
function recount.compare(fix)
  local TOTALS = { 'submitted', 'started', 'finished', 'run_ms', 'attempts' }
  local counters = pairs_of(redis.call('HGETALL', COUNTERS))
  find_streams(counters, fix)
  local right = { queued = 0, running = 0, suspects = 0, held = 0, slots = 0 }
  for field in pairs(counters) do
    local place, route = string.match(field, '^c(:(.+):%a+)$')
    if place and not jobs.is_entry(counters[field]) then
      counters[field] = jobs.cursor_of(PREFIX .. 's' .. place) or '0-0'
      fix(field, nil, counters[field])
    end
    if place then
      local ready, suspects, running, undelivered, held, lined = count_place(PREFIX .. 's' .. place, counters['d' .. place])
      if not ready then
        fix('s' .. place, nil, 'lost') -- with its jobs; a new group allows later jobs to be claimed
        ready, suspects, running, undelivered, held = 0, 0, 0, redis.call('XLEN', PREFIX .. 's' .. place), 0
        lined = 0
        counters['c' .. place] = '0-0'
      end
      local gone = number_or(counters['t' .. place], 0)
      if gone ~= 0 or number_or(counters['q' .. place], 0) ~= undelivered then
        gone = count_tombstones(PREFIX .. 's' .. place, counters['c' .. place], gone, undelivered)
      end
      right['q' .. place], right['t' .. place] = undelivered - gone, gone
      right['y' .. place], right['u' .. place], right['h' .. place] = ready, suspects, held
      right['n' .. place] = lined
      right['r:' .. route] = (right['r:' .. route] or 0) + running
      right.queued = right.queued + undelivered - gone + ready + suspects + lined
      right.running, right.suspects, right.held = right.running + running, right.suspects + suspects, right.held + held
    end
  end
  for field in pairs(counters) do
    if string.match(field, '^[qtyuhnr]:') and not right[field] then right[field] = 0 end
  end
  for field, value in pairs(counters) do
    local pauses = string.match(field, '^p:')
    if pauses and number_or(value, math.huge) > now and not limits.end_of_pause(value) then right[field] = 0 end
  end
  count_waiting(counters, right)
  for _, worker in ipairs(redis.call('ZRANGE', WORKERS, 0, -1)) do right.slots = right.slots + slots_of(worker) end
  for _, field in ipairs(TOTALS) do
    if counters[field] and not is_whole(counters[field]) then right[field] = 0 end -- the earlier value is unknown
  end
  for field, value in pairs(right) do
    local is = number_or(counters[field], 0)
    if is ~= value or (counters[field] and not is_whole(counters[field])) then fix(field, is, value) end
  end
end

-- Corrects the counters and returns how many were wrong. Calls wrong(field), if given, for each.
function recount.correct(wrong)
  local corrected = 0
  recount.compare(function(field, _, value)
    corrected = corrected + 1
    if wrong then wrong(field) end
    if value == 'lost' then
      local place = string.sub(field, 2)
      redis.call('XGROUP', 'CREATE', PREFIX .. field, GROUP, '0', 'MKSTREAM')
      redis.call('HSET', COUNTERS, 'c' .. place, '0-0')
      redis.call('HDEL', COUNTERS, 'd' .. place)
    else
      redis.call('HSET', COUNTERS, field, value)
    end
  end)
  return corrected
end

-- Creates streams that Redis has lost, because other scripts read them.
function recount.restore_streams()
  for _, stream in ipairs(streams()) do
    if redis.pcall('XPENDING', stream, GROUP).err then return recount.correct() end
  end
end
