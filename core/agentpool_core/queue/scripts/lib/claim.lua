-- Claims jobs for a worker, always from the stream whose head has waited longest past its patience.
--
-- Each stream is ordered, so only heads compete. For each priority of each route whose limits leave room, the candidates are the
-- first undelivered entry and the first requeued entry. The head with the smallest enqueue time + patience wins; its
-- stream yields all entries that precede the second-best head.

--- include: announce
--- include: jobs
--- include: holding
--- include: limits
--- include: lines
--- include: packing
--- include: quarantine
--- include: stray
--- include: tombstones

local RANK = { critical = 0, task = 1, info = 2 }
local TOMBSTONES_MAX = 500 -- skipped in one claim
local BYTES_MAX = 4194304 -- of payloads, checkpoints and parents' results in one claim; the first job may exceed the limit
local YIELD_RANK_MS = 4e12 -- more than any clock: separates priorities in the yield set

local claimed_bytes = 0 -- in this script

-- A total order: the same queue always yields the same jobs.
local function before(a_score, a_rank, a_entry, a_place, b)
  if a_score ~= b.score then return a_score < b.score end
  if a_rank ~= b.rank then return a_rank < b.rank end
  if a_entry ~= b.entry then return id_after(b.entry, a_entry) end
  return a_place < b.place
end

-- Returns the first entries of a candidate, at most `count`.
local function front(c, count)
  if c.lined then return lines.front(c, count) end
  if c.kept then return redis.call('XPENDING', c.stream, GROUP, '-', '+', count, READY) end
  return redis.call('XRANGE', c.stream, '(' .. c.cursor, '+', 'COUNT', count)
end

local function look_at_head(c)
  if c.lined then
    if not lines.look(c) then return false end
  else
    local head = front(c, 1)[1]
    if not head then return false end
    c.entry = head[1]
  end
  c.score = id_parts(c.entry) + c.patience
  return true
end

-- Returns the rooms of a route: its own limit, and the limits of the pool that cover the whole route; `cost`: of its jobs in a
-- worker's slots and memory, nil: one slot.
local function rooms_of(route, counters)
  local rooms = limits.gates_of(route)
  local v = redis.call('HMGET', CONF, 'limit:' .. route, 'cost:' .. route)
  local limit = setting_or(v[1], nil)
  rooms.cost = packing.cost_of(v[2])
  local opens = limits.end_of_pause(counters['p:' .. route])
  if opens then rooms[#rooms + 1] = { left = 0, opens = opens, bucket = '~' .. route } end
  if limit then rooms[#rooms + 1] = { left = limit - number_or(counters['r:' .. route], 0), opens = math.huge } end
  return rooms
end

-- Returns how many jobs of a candidate's route may start.
local function left_of(c)
  local left = math.huge
  for _, room in ipairs(c.rooms) do left = math.min(left, room.left) end
  return left
end

local function candidates_of(counters, patience)
  local found = {}
  local rooms = {}
  for field, count in pairs(counters) do
    local sort, route, priority = string.match(field, '^([qyn]):(.+):(%a+)$')
    if sort and jobs.PRIORITIES[priority] and number_or(count, 0) > 0 then
      rooms[route] = rooms[route] or rooms_of(route, counters)
      limits.note_shut_gates(rooms[route])
      if left_of({ rooms = rooms[route] }) > 0 then
        local place = ':' .. route .. ':' .. priority
        found[#found + 1] = {
          kept = sort == 'y', lined = sort == 'n', count = tonumber(count), field = field, rooms = rooms[route], route = route,
          priority = priority, rank = RANK[priority], patience = patience[priority], place = place,
          tombstones = number_or(counters['t' .. place], 0),
          cost = rooms[route].cost, stream = stream_of(route, priority), cursor = counters['c' .. place], kept_last = counters['d' .. place],
        }
      end
    end
  end
  return found
end

local function is_open(c) return c.count > 0 and left_of(c) > 0 end

local function best_two(candidates, bar)
  local best, second
  for _, c in ipairs(candidates) do
    if is_open(c) and packing.fits(c) and c.score <= bar then
      if not best or before(c.score, c.rank, c.entry, c.place, best) then
        best, second = c, best
      elseif not second or before(c.score, c.rank, c.entry, c.place, second) then
        second = c
      end
    end
  end
  return best, second
end

-- Returns how many of the best candidate's first `want` entries precede the head of the second candidate.
local function run_length(best, second, want)
  if not second or want == 1 then return want end
  for i, item in ipairs(front(best, want)) do
    if i > 1 and not before(id_parts(item[1]) + best.patience, best.rank, item[1], best.place, second) then return i - 1 end
  end
  return want
end

local function take_entries(c, worker, count)
  if c.kept then
    local ids = {}
    for i, item in ipairs(front(c, count)) do ids[i] = item[1] end
    if #ids == 0 then return {} end
    return redis.call('XCLAIM', c.stream, GROUP, worker, 0, unpack(ids))
  end
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', count, 'STREAMS', c.stream, '>')
  if not read then return {} end
  local entries = read[1][2]
  c.cursor = entries[#entries][1]
  redis.call('HSET', COUNTERS, 'c' .. c.place, c.cursor)
  if c.kept_last then acked[c.stream] = acked[c.stream] or {} end -- write_acks can delete that entry now
  return entries
end

-- Takes entries of lines. Jobs of several lines go together if each of them precedes the head of the second candidate: none
-- is younger than this moment.
local function take_turns(best, second, worker, want)
  if not second or second.score > now - ahead + best.patience then return lines.take(best, worker, want, false) end
  return lines.take(best, worker, run_length(best, second, want), true)
end

local function parents_of(key)
  local results = {}
  for parent in string.gmatch(redis.call('HGET', key, 'after') or '', '%S+') do
    local result = redis.call('HGET', key, 'in:' .. parent)
    if result then
      results[#results + 1] = parent
      results[#results + 1] = result
    end
  end
  return results
end

-- Ends a job with an unreadable record when a claim reaches the job.
local function end_unreadable(id, c, entry, why, is_foreign)
  local key = PREFIX .. 'job:' .. id
  local job = { id = id, key = key, state = 'queued', spec = jobs.unreadable_spec(c.place), broken = why, attempt = 0, worker = '' }
  if is_foreign then -- the key has a different type
    redis.call('DEL', key)
    redis.call('HSET', key, 'spec', jobs.UNREADABLE .. '|' .. string.sub(c.place, 2) .. '|||', 'entry', entry)
  end
  jobs.read_marks(job)
  c.count = c.count - 1
  bump(c.field, -1)
  bump('queued', -1)
  drop_entry(c.stream, entry)
  jobs.fail_undecodable(job)
end

-- Returns why the record of an entry is unreadable; nil: the entry is a tombstone or not the place of its job, the job is
-- gone, or a consumer holds the entry.
local function why_unreadable(v, id, entry)
  if v.err then return 'undecodable: the key of the record holds something else' end
  if not v[1] then return redis.call('EXISTS', PREFIX .. 'job:' .. id) == 1 and jobs.undecodable('state', nil) or nil end
  if jobs.ENDS[v[1]] then return nil end
  local job = jobs.load(id)
  if job.broken then return job.broken end
  if job.entry == entry then return not jobs.consumer_of(job) and jobs.undecodable('state', v[1]) or nil end
  return not stray.is_reachable(job) and jobs.undecodable('entry', v[4]) or nil
end

-- Transfers the entry of a job that is not ready to the consumer that the record implies. Redis has lost the group, or the
-- record was changed by hand; maintenance checks the entries of consumers.
local function give_to_holder(id, entry, c)
  local job = jobs.load(id)
  redis.call('XCLAIM', c.stream, GROUP, jobs.consumer_of(job), 0, entry, 'JUSTID')
  if job.state == 'running' then
    bump('running', 1)
    bump(job.spec.running, 1)
  end
end

local function end_in_queue(id, c, entry, state, reason)
  local job = jobs.load(id)
  bump(c.field, -1)
  bump('queued', -1)
  redis.call('ZREM', TTL, id)
  holding.leave(job)
  drop_entry(c.stream, entry)
  jobs.finish(job, state, 'reason', reason, reason)
end

-- Returns the fields that only some jobs have: {checkpoint, trace, parents}; nil: the job's ttl has ended. Sets `expires`.
local function optional_fields(job)
  local v = redis.call('HMGET', job.key, 'checkpoint', 'trace', 'expires')
  job.expires = v[3]
  if v[3] and number_or(v[3], now) <= now then return nil end
  return { v[1] or '', v[2] or '', jobs.has_flag(job, 'a') and parents_of(job.key) or '' }
end

-- Removes the starting job from the order of expiry, and adds the job to the order of those that may yield their slots.
local function change_orders(job, c)
  if job.expires then
    redis.call('ZREM', TTL, job.id)
    redis.call('HDEL', job.key, 'expires')
  end
  if c.rank > 0 and jobs.has_flag(job, 'p') then
    redis.call('ZADD', YIELD, (2 - c.rank) * YIELD_RANK_MS - now, job.id)
  end
end

-- Bytes of {checkpoint, trace, parents}, or of ''.
local function size_of(optional)
  if optional == '' then return 0 end
  local size = #optional[1] + #optional[2]
  if optional[3] ~= '' then
    for _, text in ipairs(optional[3]) do size = size + #text end
  end
  return size
end

-- Turns an entry into a lease: appends six values to `leases`. Returns false for a tombstone, an expired job, or a job that
-- a limit holds.
local function start(entry, c, worker, leases)
  local id = entry[2][2]
  local key = PREFIX .. 'job:' .. id
  local v = redis.pcall('HMGET', key, 'state', 'spec', 'payload', 'entry', 'lease', 'mark')
  if v[1] ~= 'queued' or v[4] ~= entry[1] then
    local why = why_unreadable(v, id, entry[1])
    if why then
      end_unreadable(id, c, entry[1], why, v.err)
      return false
    end
    local held = v[4] == entry[1] and not jobs.ENDS[v[1]]
    if held then give_to_holder(id, entry[1], c) else drop_entry(c.stream, entry[1]) end
    if not held and not c.kept and not c.lined and c.tombstones > 0 then
      c.tombstones = c.tombstones - 1
      bump('t' .. c.place, -1)
    else -- the record was lost or changed while the job waited
      c.count = c.count - 1
      bump(c.field, -1)
      bump('queued', -1)
    end
    return false
  end
  local token, attempt = jobs.read_lease(v[5])
  local spec = jobs.read_spec(v[2])
  if not token or not spec or spec.place ~= c.place then
    end_unreadable(id, c, entry[1], token and jobs.undecodable('spec', v[2]) or jobs.undecodable('lease', v[5]))
    return false
  end
  c.count = c.count - 1
  local job = {
    id = id, key = key, spec = spec, worker = worker, claimed = now_text, token = token + 1,
    attempt = attempt + 1, entry = entry[1],
  }
  local optional = ''
  if job.spec.has_more or v[5] then
    optional = optional_fields(job)
    if not optional then
      end_in_queue(id, c, entry[1], 'expired', 'ttl')
      return false
    end
  end
  if (limits.all or c.kept or jobs.has_flag(job, 'm')) and not limits.admit(job, v[6]) then
    bump(c.field, -1)
    bump('queued', -1)
    return false
  end
  if optional ~= '' then change_orders(job, c) end
  local lease = jobs.lease_text(job)
  redis.call('HSET', key, 'state', 'running', 'lease', lease)
  jobs.append_event('started', job)
  local n = #leases
  leases[n + 1], leases[n + 2], leases[n + 3] = id, lease, entry[1]
  leases[n + 4], leases[n + 5], leases[n + 6] = v[2], v[3], optional
  claimed_bytes = claimed_bytes + #(v[3] or '') + size_of(optional)
  return true
end

-- Requeues the entries from number `first` on at their places, because the reply has reached its size limit.
local function requeue_unstarted(c, entries, first, worker, leases)
  local ids = {}
  for i = first, #entries do
    local v = redis.pcall('HMGET', PREFIX .. 'job:' .. entries[i][2][2], 'state', 'entry')
    if v[1] == 'queued' and v[2] == entries[i][1] then
      ids[#ids + 1] = entries[i][1]
    else
      start(entries[i], c, worker, leases) -- deletes the tombstone
    end
  end
  for _, id in ipairs(ids) do redis.call('XCLAIM', c.stream, GROUP, READY, 0, id, 'JUSTID') end
  if not c.kept then
    bump(c.field, -#ids)
    bump('y' .. c.place, #ids)
    c.count = c.count - #ids
  end
end

-- Claims from the best candidate. Returns the number of leased jobs, and the number of entries without a ready job.
local function take_from(best, second, worker, want, leases)
  local entries
  if best.lined then
    entries = take_turns(best, second, worker, want)
  else
    entries = take_entries(best, worker, run_length(best, second, want))
  end
  local taken, looked_at = 0, 0
  for i, entry in ipairs(entries) do
    if claimed_bytes >= BYTES_MAX then
      requeue_unstarted(best, entries, i, worker, leases)
      break
    end
    looked_at = i
    if start(entry, best, worker, leases) then taken = taken + 1 end
  end
  bump(best.field, -taken)
  bump('r:' .. best.route, taken)
  for _, room in ipairs(best.rooms) do limits.charge(room, taken) end
  if #entries == 0 then best.count = 0 end -- the counter exceeds the stream's content: avoid an endless loop
  return taken, looked_at - taken
end

-- Claims from all candidates. Returns the number of leased jobs, and where more may start: 'here', 'elsewhere', or nowhere (nil).
local function take_all(candidates, counters, worker, leases)
  local taken, skipped, bar = 0, 0, math.huge
  if #candidates > 1 then
    for _, c in ipairs(candidates) do
      if not look_at_head(c) then c.count = 0 end
    end
  end
  local best, second = candidates[1], nil
  if #candidates > 1 then
    bar = packing.bar_of(candidates, is_open, counters, worker)
    best, second = best_two(candidates, bar)
  end
  while best and is_open(best) and packing.fits(best) and skipped < TOMBSTONES_MAX and claimed_bytes < BYTES_MAX do
    local want = math.min(packing.count(best), best.count, left_of(best), CALL_ARGS_MAX)
    local leased, gone = take_from(best, second, worker, want, leases)
    taken = taken + leased
    skipped = skipped + gone
    packing.pay(best, leased, counters)
    if #candidates > 1 then
      if best.count > 0 and not look_at_head(best) then best.count = 0 end
      bar = math.min(bar, packing.bar_of(candidates, is_open, counters, worker))
      best, second = best_two(candidates, bar)
    end
  end
  local rest
  for _, c in ipairs(candidates) do
    limits.note_shut_gates(c.rooms)
    if is_open(c) then rest = rest or 'elsewhere' end
  end
  return taken, best and is_open(best) and packing.fits(best) and 'here' or rest
end

-- Returns the counters. While a place has lines, its undelivered jobs are moved to lines first, so that they take turns, too.
local function counters_with_lines()
  local FILE_MAX = 100 -- entries of one place that a claim moves
  local counters = pairs_of(redis.call('HGETALL', COUNTERS))
  local filed = false
  for field, count in pairs(counters) do
    local place = string.match(field, '^n(:.+)$')
    if place and number_or(count, 0) > 0 and number_or(counters['q' .. place], 0) > 0 then
      lines.file(place, FILE_MAX)
      filed = true
    end
  end
  if not filed then return counters end
  write_books()
  return pairs_of(redis.call('HGETALL', COUNTERS))
end

-- Returns {status, revision, Redis's clock, max attempts, timeout ms, six values for each lease}; status: ok, paused,
-- cordoned, unregistered.
function claim.run(worker, room)
  local limit = packing.enter(room)
  local conf = redis.call('HMGET', CONF, 'revision', 'paused', 'max_attempts', 'timeout_ms', 'patience_critical_ms',
    'patience_task_ms', 'patience_info_ms', 'limits')
  local revision = conf[1] or ''
  local expiry = redis.call('ZSCORE', WORKERS, worker)
  if not expiry or tonumber(expiry) <= now then return { 'unregistered', revision, now - ahead } end
  if conf[2] == '1' then return { 'paused', revision, now - ahead } end
  local reply = { 'ok', revision, now - ahead, setting_or(conf[3], 5), setting_or(conf[4], 900000) }
  limits.read(conf[8])
  if limits.all then
    holding.open_due()
    write_books()
  end
  local v = redis.call('HMGET', COUNTERS, 'queued', 'x:' .. worker, 'suspects', 'alone', 'alone_job')
  local ready = number_or(v[1], 0) > 0
  if number_or(v[2], 0) > now then
    if ready then ring() end -- the worker may have consumed the bell
    return { 'cordoned', revision, now - ahead }
  end
  if ready and limit <= 0 then ring() end -- a full worker consumed the bell: an idle worker needs a new one
  if limit <= 0 or not ready then return reply end
  if v[4] or number_or(v[3], 0) > 0 then
    local role, job = quarantine.role_of(worker, number_or(v[3], 0), v[4], v[5])
    if role == 'reserved' then
      ring()
      return { 'cordoned', revision, now - ahead }
    end
    if role == 'alone' then return quarantine.start_alone(job, worker, reply, start) end
  end
  local counters = counters_with_lines()
  local patience = {
    critical = setting_or(conf[5], 0), task = setting_or(conf[6], 60000), info = setting_or(conf[7], 600000),
  }
  local candidates = candidates_of(counters, patience)
  local taken, rest = take_all(candidates, counters, worker, reply)
  for _, c in ipairs(candidates) do
    if not c.kept and number_or(counters['t' .. c.place], 0) > 0 then tombstones.sweep(c.stream, c.route, c.priority) end
  end
  bump('queued', -taken)
  bump('running', taken)
  bump('started', taken)
  announce.conclude()
  if rest then packing.ring_for(rest, counters, worker) end -- a second idle worker may claim the rest
  return reply
end
