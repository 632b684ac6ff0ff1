-- The pool's keys, the clock, and the books. First part of every script.
--
-- KEYS[1] is the pool's `conf` hash; every other key is derived from it, carries the same hash tag, and so lives in
-- the same slot. core/agentpool_core/queue/keys.py describes them; a test compares the names.
-- The clock is Redis's own: no caller's clock decides anything. lib/clock.lua keeps `clock_ahead_ms` in the books;
-- `clock_offset_ms` is set only by tests.

local PREFIX = string.sub(KEYS[1], 1, -5)
local CONF = KEYS[1]
local BOOKS = PREFIX .. 'books'
local DUE = PREFIX .. 'due'
local TTL = PREFIX .. 'ttl'
local DEAD = PREFIX .. 'dead'
local BLOCKED = PREFIX .. 'blocked'
local RELEASING = PREFIX .. 'releasing'
local YIELD = PREFIX .. 'yield'
local SUSPECTS = PREFIX .. 'suspects'
local WORKERS = PREFIX .. 'workers'
local WORKER_INFO = PREFIX .. 'worker-info'
local WORKER_KINDS = PREFIX .. 'worker-kinds'
local BELL = PREFIX .. 'bell'
local EVENTS = PREFIX .. 'events'

local GROUP = 'pool'
local READY = '~ready'
local PARKED = '~parked'
local SWEEPER = '~sweeper'
local SUSPECT = '~suspect'

local EVENTS_MAX = 10000 -- events kept, about
local LIST_TTL_S = 3600 -- orders and inboxes that nobody reads
local LOG_MAX_BYTES = 4096 -- of a job's own history; the middle goes first
local PRESSURE_EVERY_MS = 100 -- at most one signal in this time
local CALL_ARGS_MAX = 1000 -- ids in one command

-- What is no finite number counts as missing.
local function number_or(text, default)
  local number = tonumber(text or nil)
  if number and number - number == 0 then return number end
  return default
end

-- What clients read as a whole number. Lua takes more for one: `0.`, `0x1`, `1e9`, `inf`.
local function is_whole(text)
  return string.find(text, '^%-?%d+$') ~= nil
end

--- A setting of the pool: what is no whole number counts as missing, as it does for the clients.
local function setting_or(text, default)
  if text and is_whole(text) then return number_or(text, default) end
  return default
end

local time = redis.call('TIME')
local off = redis.call('HMGET', BOOKS, 'clock_offset_ms', 'clock_ahead_ms')
local ahead = number_or(off[2], 0) -- of the time that entry ids go by
local now = time[1] * 1000 + math.floor(time[2] / 1000) + number_or(off[1], 0) + ahead
local now_text = string.format('%.0f', now) -- turning numbers into text is dear, and this one is written often

-- Counters change by deltas, written once a script.
local deltas = {}

local function bump(field, by)
  deltas[field] = (deltas[field] or 0) + by
end

local function write_books()
  for field, by in pairs(deltas) do
    -- A counter that is no number begins anew; lib/recount.lua puts it right.
    if by ~= 0 and type(redis.pcall('HINCRBY', BOOKS, field, by)) == 'table' then redis.call('HSET', BOOKS, field, by) end
  end
  deltas = {}
end

-- Entries leave the group and the stream together, many at a time.
local acked = {}

local function drop_entry(stream, entry)
  local ids = acked[stream]
  if not ids then
    ids = {}
    acked[stream] = ids
  end
  ids[#ids + 1] = entry
end

local function each_slice(ids, command, ...)
  for first = 1, #ids, CALL_ARGS_MAX do
    local args = { ... }
    for i = first, math.min(first + CALL_ARGS_MAX - 1, #ids) do args[#args + 1] = ids[i] end
    redis.call(command, unpack(args))
  end
end

-- Servers take the group's lag for unknown when the entry that was delivered last is deleted while an older one is
-- still there. So that entry stays, acknowledged, until it is the oldest or another has been delivered: field d of the
-- books remembers it.
local function write_acks()
  for stream, ids in pairs(acked) do
    local place = string.sub(stream, #PREFIX + 2)
    local v = redis.call('HMGET', BOOKS, 'c' .. place, 'd' .. place)
    local cursor, kept = v[1], v[2]
    if kept and not string.match(kept, '^%d+%-%d+$') then
      redis.call('HDEL', BOOKS, 'd' .. place)
      kept = nil
    end
    local last = kept == cursor and kept or nil
    local gone = {}
    if kept and not last then gone[1] = kept end
    for _, id in ipairs(ids) do
      if id == cursor then last = id else gone[#gone + 1] = id end
    end
    each_slice(ids, 'XACK', stream, GROUP)
    each_slice(gone, 'XDEL', stream)
    if last and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1] == last then
      redis.call('XDEL', stream, last)
      last = nil
    end
    if last ~= (kept or nil) then
      if last then redis.call('HSET', BOOKS, 'd' .. place, last) else redis.call('HDEL', BOOKS, 'd' .. place) end
    end
  end
  acked = {}
end

local function stream_of(route, priority)
  return PREFIX .. 's:' .. route .. ':' .. priority
end

-- A reply of fields and values in turn, as a table.
local function pairs_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- Every stream that the pool has.
local function streams()
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', BOOKS)) do
    local route, priority = string.match(field, '^c:(.+):(%a+)$')
    if route then found[#found + 1] = stream_of(route, priority) end
  end
  return found
end

-- The two numbers of an entry id.
local function id_parts(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function id_after(a, b)
  local a_ms, a_seq = id_parts(a)
  local b_ms, b_seq = id_parts(b)
  if a_ms ~= b_ms then return a_ms > b_ms end
  return a_seq > b_seq
end

-- Memory that is full must not keep jobs from ending: Redis refuses a script's first write when it is one that takes
-- memory, so scripts that give memory back begin with one that does not.
local function write_though_memory_is_full()
  redis.call('HDEL', BOOKS, '-')
end

local function slots_of(worker)
  local info = redis.call('HGET', WORKER_INFO, worker)
  return info and tonumber(string.match(info, '^(%d+)')) or 0
end

local function ring()
  if redis.call('LLEN', BELL) == 0 then redis.call('RPUSH', BELL, '1') end
end
