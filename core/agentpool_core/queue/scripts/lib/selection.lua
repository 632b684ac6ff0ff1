-- Finds the jobs that a selector describes, page by page. Only reads.
--
-- A selector is JSON: {states, kinds, routes, tenants, tags, error, error_group, after ms, before ms, ended ms}. A job matches if its
-- state, kind, route and tenant are among the listed ones, it has all tags, it was submitted within [after, before), its error
-- contains the text, and its error is of the group. `ended`: it ended earlier. Missing parts match every job; an order of the states
-- is kept.

local LOOK_MAX = 2000 -- records read for one page: entries of jobs that ended in the queue stay for a while
local SLICE = 100 -- ids read at once
local GROUP_BYTES = 300 -- of an error's first line that distinguish its group
local MARK = '…'
local HEX = string.rep('%x', 8)
-- Parts of an error that make no difference, as in queue/error_groups.py: addresses, ids, numbers.
local DIFFERS = { '0x%x+', '%f[%w_]' .. HEX .. '[%x%-][%x%-][%x%-][%x%-]+%f[^%w_]', '%d[%d.:,]*%d', '%d' }
selection.MATCH_FIELDS = 'state spec entry log tags tenant ended error' -- of a job's record

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

-- Returns the selector with sets in place of lists.
function selection.read(text)
  local selector = cjson.decode(text)
  selector.kinds, selector.routes = set_of(selector.kinds), set_of(selector.routes)
  selector.tenants = set_of(selector.tenants)
  return selector
end

-- The text of an error's group, as queue/error_groups.py computes it.
local function group_of(error)
  local line = string.match(error, '^[^\n]*')
  local after = string.byte(line, GROUP_BYTES + 1)
  line = string.sub(line, 1, GROUP_BYTES)
  if after and after >= 128 and after < 192 then line = string.gsub(line, '[\192-\255][\128-\191]*$', '') end
  for _, part in ipairs(DIFFERS) do line = string.gsub(line, part, MARK) end
  return line
end

-- The text before the first mark is the beginning of each error of the group, which is cheaper to compare.
local function is_of_group(error, group)
  local literal = string.sub(group, 1, (string.find(group, MARK, 1, true) or #group + 1) - 1)
  return string.sub(error, 1, #literal) == literal and group_of(error) == group
end

-- The time of the submit, as codec/records.py computes it.
local function submitted_ms(record)
  local text = record.log and string.match(record.log, '^%S+ (%d+) ') or string.match(record.entry or '', '^(%d+)%-')
  return tonumber(text or '0')
end

local function is_selected(selector, record)
  local kind, route = string.match(record.spec or '', '^([^|]+)|([^|]+)|')
  if selector.kinds and not selector.kinds[kind or ''] then return false end
  if selector.routes and not selector.routes[route or ''] then return false end
  if selector.tenants and not selector.tenants[record.tenant or ''] then return false end
  local tags = ' ' .. (record.tags or '') .. ' '
  for _, tag in ipairs(selector.tags or {}) do
    if not string.find(tags, ' ' .. tag .. ' ', 1, true) then return false end
  end
  if selector.error and not string.find(record.error or '', selector.error, 1, true) then return false end
  if selector.error_group and not is_of_group(record.error or '', selector.error_group) then return false end
  if selector.ended and number_or(record.ended, 0) >= selector.ended then return false end
  if not (selector.after or selector.before) then return true end
  local submitted = submitted_ms(record)
  return submitted >= (selector.after or 0) and submitted < (selector.before or math.huge)
end

-- A source yields slices: slice(from) returns {{id or nil, next place, entry of an end}, ...} and the place after the slice, nil at
-- the end.

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

-- Newest first. An entry names several jobs; a place is an entry and the number of its jobs to skip.
local function of_ended(stream)
  return function(from)
    local bound, skipped = string.match(from, '^(%S+) (%d+)$')
    local entry = redis.call('XREVRANGE', stream, bound, '-', 'COUNT', 1)[1]
    if not entry then return {}, nil end
    local items, number = {}, 0
    for id in string.gmatch(entry[2][2], '%S+') do
      number = number + 1
      if number > tonumber(skipped) then items[#items + 1] = { id, entry[1] .. ' ' .. number, entry[1] } end
    end
    return items, '(' .. entry[1] .. ' 0'
  end
end

local function of_streams(state)
  local workers = state == 'running' and redis.call('ZRANGE', WORKERS, 0, -1)
  local found = {}
  for _, stream in ipairs(streams()) do
    if workers then
      found[#found + 1] = { stream, of_holders(stream, workers), '-' }
    else
      local delivered = redis.call('HGET', COUNTERS, 'c:' .. string.sub(stream, #PREFIX + 3))
      found[#found + 1] = { stream .. '/1', of_holders(stream, { READY, SUSPECT, HELD, LINED }), '-' }
      found[#found + 1] = { stream .. '/2', of_undelivered(stream), '(' .. delivered }
    end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  return found
end

-- Returns the ordered sources of a state: {name, slice, first place}.
local function sources_of(state)
  if state == 'scheduled' then return { { 'due', of_order(DUE), '0' } } end
  if state == 'waiting' then return { { 'waiting', of_order(WAITING), '0' } } end
  if state == 'failed' then return { { 'dead', of_order(DEAD), '0' } } end
  if state == 'blocked' then return { { 'blocked', of_set(BLOCKED), '0 0' } } end
  if state == 'queued' or state == 'running' then return of_streams(state) end
  return { { 'ended', of_ended(ENDED .. state), '+ 0' } }
end

-- Reads a source. Returns the place where the next page continues; nil: the source is exhausted.
local function read_source(slice, from, visit)
  while from do
    local items, rest = slice(from)
    for _, item in ipairs(items) do
      if not visit(item[1], item[3]) then return from end
      from = item[2]
    end
    from = rest
  end
end

-- Whether a job was restored since the entry of its cancellation, and then cancelled again, as a later entry says.
local function is_left(state, entry, restored)
  local bound = string.match(restored or '', '^%d+%-%d+$')
  return bound and state == 'cancelled' and entry and not id_after(entry, bound)
end

-- Calls found(id, values, record) for each selected job from the cursor on; `names`: the fields to read, which include
-- MATCH_FIELDS. Stops after LOOK_MAX records, or as soon as `is_full` returns true. Returns the next cursor; '': the end.
function selection.each(selector, cursor, names, is_full, found)
  local fields, looks = {}, 0
  for name in string.gmatch(names, '%S+') do fields[#fields + 1] = name end
  local at_state, at, place = string.match(cursor, '^(%a+) (%S+) (.+)$')
  local state
  local read = { unpack(fields) }
  read[#read + 1] = 'restored'
  local function visit(id, entry)
    if looks >= LOOK_MAX or is_full() then return false end
    looks = looks + 1
    if not id then return true end
    local values = redis.pcall('HMGET', PREFIX .. 'job:' .. id, unpack(read))
    if values[1] ~= state or is_left(state, entry, values[#read]) then return true end
    local record = {}
    for i, name in ipairs(fields) do record[name] = values[i] or nil end
    if is_selected(selector, record) then found(id, fields, values) end
    return true
  end
  for _, name in ipairs(selector.states) do
    state = name
    if not at_state or at_state == state then
      for _, source in ipairs(sources_of(state)) do
        if not at or source[1] >= at then
          local rest = read_source(source[2], at == source[1] and place or source[3], visit)
          if rest then return state .. ' ' .. source[1] .. ' ' .. rest end
        end
      end
      at_state, at = nil, nil
    end
  end
  return ''
end
