-- list: returns a page of the jobs in a state, oldest first within each stream. Only reads.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 state (queued, scheduled, blocked, running, failed), 2 cursor ('': from the beginning), 3 most jobs, 4 most
--        bytes: the page ends with the job that reaches a limit, 5 names of the fields to read, separated by blanks;
--        the first is state
-- Returns {next cursor ('': no more jobs), id, [field, value, ...], ...}
-- Events none.

--- include: pool

local LOOK_MAX = 5000 -- records read for one page: entries of jobs that ended in the queue stay for a while
local SLICE = 100 -- ids read at once

local state, most_jobs, most_bytes = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local fields = {}
for name in string.gmatch(ARGV[5], '%S+') do fields[#fields + 1] = name end

local page = { '' }
local looks, jobs, bytes = 0, 0, 0

local function is_full()
  return jobs >= most_jobs or bytes >= most_bytes or looks >= LOOK_MAX
end

-- Adds the job to the page if its state matches.
local function add(id)
  looks = looks + 1
  local values = redis.pcall('HMGET', PREFIX .. 'job:' .. id, unpack(fields))
  if values[1] ~= state then return end
  local record = {}
  for i, name in ipairs(fields) do
    if values[i] then
      record[#record + 1] = name
      record[#record + 1] = values[i]
      bytes = bytes + #name + #values[i]
    end
  end
  page[#page + 1] = id
  page[#page + 1] = record
  jobs = jobs + 1
end

-- A source yields slices: slice(from) returns {{id or nil, next place}, ...} and the place after the slice, nil at the end.

local function of_order(order)
  return function(from)
    local first = tonumber(from)
    local items = {}
    for i, id in ipairs(redis.call('ZRANGE', order, first, first + SLICE - 1)) do items[i] = { id, first + i } end
    return items, #items == SLICE and first + SLICE or nil
  end
end

-- A place is a cursor of SSCAN and the number of ids to skip, because SSCAN returns a small set as a whole.
local function of_set(set)
  return function(from)
    local cursor, skipped = string.match(from, '^(%d+) (%d+)$')
    local reply = redis.call('SSCAN', set, cursor, 'COUNT', SLICE)
    local items = {}
    for i = tonumber(skipped) + 1, #reply[2] do items[#items + 1] = { reply[2][i], cursor .. ' ' .. i } end
    return items, reply[1] ~= '0' and reply[1] .. ' 0' or nil
  end
end

local function of_holders(stream, holders)
  return function(from)
    local held = {}
    for _, holder in ipairs(holders) do
      for _, item in ipairs(redis.pcall('XPENDING', stream, GROUP, from, '+', SLICE, holder)) do held[#held + 1] = item[1] end
    end
    table.sort(held, function(a, b) return id_after(b, a) end)
    local items = {}
    for i = 1, math.min(SLICE, #held) do
      local entry = redis.call('XRANGE', stream, held[i], held[i])[1]
      items[i] = { entry and entry[2][2], '(' .. held[i] }
    end
    return items, #held >= SLICE and items[SLICE][2] or nil
  end
end

local function of_undelivered(stream)
  return function(from)
    local items = {}
    for i, entry in ipairs(redis.call('XRANGE', stream, from, '+', 'COUNT', SLICE)) do
      items[i] = { entry[2][2], '(' .. entry[1] }
    end
    return items, #items == SLICE and items[SLICE][2] or nil
  end
end

-- Returns the ordered sources of the state: {name, slice, first place}.
local function sources()
  if state == 'scheduled' then return { { 'due', of_order(DUE), '0' } } end
  if state == 'failed' then return { { 'dead', of_order(DEAD), '0' } } end
  if state == 'blocked' then return { { 'blocked', of_set(BLOCKED), '0 0' } } end
  local workers = state == 'running' and redis.call('ZRANGE', WORKERS, 0, -1)
  local found = {}
  for _, stream in ipairs(streams()) do
    if workers then
      found[#found + 1] = { stream, of_holders(stream, workers), '-' }
    else
      local delivered = redis.call('HGET', COUNTERS, 'c:' .. string.sub(stream, #PREFIX + 3))
      found[#found + 1] = { stream .. '/1', of_holders(stream, { READY, SUSPECT, HELD }), '-' }
      found[#found + 1] = { stream .. '/2', of_undelivered(stream), '(' .. delivered }
    end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  return found
end

-- Reads a source. Returns the place where the next page continues; nil: the source is exhausted.
local function read(slice, from)
  while from do
    local items, rest = slice(from)
    for _, item in ipairs(items) do
      if is_full() then return from end
      if item[1] then add(item[1]) end
      from = item[2]
    end
    from = rest
  end
end

local at, place = string.match(ARGV[2], '^(%S+) (.+)$')
for _, source in ipairs(sources()) do
  if not at or source[1] >= at then
    local rest = read(source[2], at == source[1] and place or source[3])
    if rest then
      page[1] = source[1] .. ' ' .. rest
      break
    end
  end
end
return page
