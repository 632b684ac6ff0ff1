-- Limits: how many jobs may run at once, how many may start in a period, and how much money jobs may spend in a window. The
-- claim asks `limits.admit` for each job, and `limits.gates_of` for a whole stream. A job that may not start waits
-- (lib/holding.lua).
--
-- A limit has a bucket for all its jobs, `NAME`, or one for each key or tenant, `NAME:SHA1`. Jobs that run count in
-- using:BUCKET; starts move the time of GCRA in `limit-times` by one, or by the tokens that the job is expected to use
-- (lib/tokens.lua corrects them by those that it reports); money that jobs spend counts in spent:BUCKET:WINDOW, windows
-- being those of the pool's clock since 1970. A room is the rest of a bucket in this script.
--
-- A limit without `by` and `kinds` covers whole routes: a gate. Its jobs wait in their streams. A rate of tokens is no gate,
-- because its jobs differ.
--
-- A group of children may have a limit of its own, with the bucket +map:PARENT:GROUP and the number in the group's text.
--
-- A handler that is overloaded for a known time pauses the buckets of the job's key and tenant, or else of its rates
-- (`limit-times`, member ~BUCKET), or else the route (counter field `p:ROUTE`, opening ~ROUTE).

--- include: groups
--- include: holding
--- include: jobs
--- include: tokens

local ROUNDING_MS = 0.001 -- of the times of rates

-- By bucket: {bucket, left, opens, paused, and for a rate: tat, interval, burst, latest (tat), tokens; for jobs at once: counts}.
limits.rooms = {}

local function set_of(names)
  if not names or #names == 0 then return nil end
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

-- Reads the pool's limits from `text`, or from the settings. Sets limits.all; nil: the pool has none.
function limits.read(text)
  if limits.known then return end
  limits.known, limits.named = true, {}
  text = text == nil and redis.call('HGET', CONF, 'limits') or text
  if not text or text == '[]' then return end
  local found = read_limits(text)
  if #found == 0 then return end
  limits.all = found
  for _, limit in ipairs(found) do
    limits.named[limit.name] = limit
    limit.kind_set, limit.route_set = set_of(limit.kinds), set_of(limit.routes)
    limit.gate = not limit.by and not limit.kind_set and not limit.tokens
  end
end

-- Returns the limits of a spec's jobs, without gates.
local function limits_of(spec)
  if not spec.limits then
    spec.limits = {}
    for _, limit in ipairs(limits.all or {}) do
      if not limit.gate and (not limit.kind_set or limit.kind_set[spec.kind])
        and (not limit.route_set or limit.route_set[spec.route]) then
        spec.limits[#spec.limits + 1] = limit
      end
    end
  end
  return spec.limits
end

-- Reads the job's key, tenant and declared tokens.
function limits.read_subjects(job)
  if not jobs.has_flag(job, 'k') then return end
  local v = redis.call('HMGET', job.key, 'limit_key', 'tenant', 'tokens')
  job.limit_key, job.tenant, job.tokens = v[1], v[2], v[3]
end

local function bucket_of(limit, job)
  if not limit.by then return limit.name end
  local subject = job[limit.by == 'key' and 'limit_key' or 'tenant']
  return subject and limit.name .. ':' .. redis.sha1hex(subject) or nil
end

-- Returns how many jobs of a gate run, from the counters of its routes.
local function running_behind(limit)
  local total = 0
  for field, count in pairs(pairs_of(redis.call('HGETALL', COUNTERS))) do
    local route = string.match(field, '^r:(.+)$')
    if route and (not limit.route_set or limit.route_set[route]) then
      total = total + number_or(count, 0) + (deltas[field] or 0)
    end
  end
  return total
end

-- Returns the limit with the numbers of the bucket: those that were set for its key or tenant, or the limit's own.
local function measure_of(limit, bucket)
  if not limit.by then return limit end
  if limits.overridden == nil then limits.overridden = redis.call('EXISTS', LIMIT_OVERRIDES) == 1 end
  local text = limits.overridden and redis.call('HGET', LIMIT_OVERRIDES, bucket)
  local amount = number_or(string.match(text or '', '^budget (%d+)\n'), 0)
  if amount > 0 and limit.amount then return { amount = amount, window_ms = limit.window_ms } end
  if limit.amount then return limit end
  local unit, first, period, burst = string.match(text or '', '^(%a*) ?(%d+) ?(%d*) ?(%d*)\n')
  if not first or (period == '') ~= not limit.count or unit ~= (limit.tokens and 'tokens' or '') then return limit end
  local numbers = { number_or(first, 0), limit.count and number_or(period, 0), limit.count and number_or(burst, 0) }
  for _, number in ipairs(numbers) do
    if number and number < 1 then return limit end
  end
  return {
    max_running = numbers[1], count = limit.count and numbers[1], period_ms = numbers[2], burst = numbers[3], tokens = limit.tokens,
  }
end

-- Returns the time at which a room has `need` starts or tokens.
function limits.opening_of(room, need)
  if not room.interval then return room.opens end
  return math.max(room.paused or 0, room.tat + (need - room.burst) * room.interval)
end

local function measure_left(room)
  room.opens = limits.opening_of(room, 1)
  room.left = math.max(0, math.floor((now - room.opens + ROUNDING_MS) / room.interval) + 1)
end

-- Generic cell rate algorithm: `tat` is the time at which the bucket would be full again. A bucket may be ahead of it by
-- burst - 1 intervals. A rate of tokens may have a debt of one burst.
local function rate_room(limit, bucket)
  local interval = limit.period_ms / limit.count
  local latest = now + (limit.tokens and 2 or 1) * limit.burst * interval
  local stored = number_or(redis.call('ZSCORE', LIMIT_TIMES, bucket), now)
  local tat = math.max(now, math.min(stored, latest))
  local room = { bucket = bucket, tat = tat, interval = interval, burst = limit.burst, latest = latest, tokens = limit.tokens }
  if stored > tat then collected.charged[bucket] = room end -- of a slower rate: written again, or it would never come nearer
  measure_left(room)
  return room
end

local function spent_key(limit, bucket)
  return PREFIX .. 'spent:' .. bucket .. ':' .. string.format('%.0f', math.floor(now / limit.window_ms))
end

-- Money is left, or the window ends. A job that started before may still spend more than is left.
local function budget_room(limit, bucket)
  local spent = number_or(redis.call('GET', spent_key(limit, bucket)), 0)
  if spent < limit.amount then return { bucket = bucket, left = math.huge, opens = now } end
  return { bucket = bucket, left = 0, opens = (math.floor(now / limit.window_ms) + 1) * limit.window_ms }
end

-- Returns the longest pause (ms).
function limits.longest_pause()
  limits.longest = limits.longest or setting_or(redis.call('HGET', CONF, 'retry_max_ms'), 300000)
  return limits.longest
end

-- Returns until when (ms) an overloaded handler has paused a route or a bucket; nil: it is not paused. A later time than
-- a pause may end counts as none. `text`: the time.
function limits.end_of_pause(text)
  local opens = number_or(text, 0)
  return opens > now and opens <= now + limits.longest_pause() and opens or nil
end

-- Returns the room of a bucket: `left` jobs may start now, more from `opens` (ms) on.
function limits.room_of(limit, bucket)
  local room = limits.rooms[bucket]
  if room then return room end
  local measure = measure_of(limit, bucket)
  if measure.count then
    room = rate_room(measure, bucket)
  elseif measure.amount then
    room = budget_room(measure, bucket)
  else
    local used = limit.gate and running_behind(limit) or redis.call('SCARD', PREFIX .. 'using:' .. bucket)
    room = { bucket = bucket, left = measure.max_running - used, opens = math.huge, counts = true }
  end
  local paused = limits.end_of_pause(redis.call('ZSCORE', LIMIT_TIMES, '~' .. bucket))
  if paused then
    room.paused, room.left, room.opens = paused, 0, room.counts and paused or math.max(room.opens, paused)
  end
  limits.rooms[bucket] = room
  return room
end

-- Takes `n` starts or tokens from a room; negative: returns tokens.
function limits.charge(room, n)
  if not room.interval then
    room.left = room.left - n
  elseif n ~= 0 then
    room.tat = math.max(now, math.min(room.tat + n * room.interval, room.latest))
    measure_left(room)
    collected.charged[room.bucket] = room
  end
end

-- Returns the rooms of the limits that cover a whole route.
function limits.gates_of(route)
  local rooms = {}
  for _, limit in ipairs(limits.all or {}) do
    if limit.gate and (not limit.route_set or limit.route_set[route]) then
      rooms[#rooms + 1] = limits.room_of(limit, limit.name)
    end
  end
  return rooms
end

-- Returns the limit of a bucket; nil: it is gone.
function limits.limit_of(bucket)
  local parent, name = string.match(bucket, '^%+map:(.+):(%x+)$')
  if not parent then return limits.named[holding.name_of(bucket)] end
  local group = groups.read(parent, name)
  return group and group.most > 0 and { name = '+map', max_running = group.most } or nil
end

-- Returns the limits of a job's spec with their buckets, and that of its group.
function limits.buckets_of(job)
  local found = {}
  limits.read_subjects(job)
  if jobs.has_flag(job, 'm') then
    local parent, name = string.match(redis.call('HGET', job.key, 'group') or '', '^(%S+) (%x+) %d+$')
    local bucket = parent and '+map:' .. parent .. ':' .. name
    local limit = bucket and limits.limit_of(bucket)
    if limit then found[1] = { limit, bucket } end
  end
  for _, limit in ipairs(limits_of(job.spec)) do
    local bucket = bucket_of(limit, job)
    if bucket then found[#found + 1] = { limit, bucket } end
  end
  return found
end

-- Returns the bucket that holds the job; or nil and the rooms that its start takes.
local function holder_of(job)
  local rooms = {}
  for _, pair in ipairs(limits.buckets_of(job)) do
    local room = limits.room_of(pair[1], pair[2])
    if room.left < tokens.need_of(room, job) or holding.is_behind(room, job) then return pair[2] end
    rooms[#rooms + 1] = room
  end
  return nil, rooms
end

local function take_rooms(job, rooms)
  local held = {}
  tokens.debit(job, rooms)
  for _, room in ipairs(rooms) do
    if not room.tokens then limits.charge(room, 1) end
    if room.counts then
      held[#held + 1] = room.bucket
      redis.call('SADD', PREFIX .. 'using:' .. room.bucket, job.id)
    end
  end
  if #held > 0 then redis.call('HSET', job.key, 'holds', table.concat(held, ' '), 'mark', '1') end
end

-- Whether the limits let a ready job start; takes the room then, and holds the job otherwise. `marked`: the record has a mark.
function limits.admit(job, marked)
  if marked then
    local v = redis.call('HMGET', job.key, 'held', 'opened')
    job.held, job.opened = holding.read_bucket(v[1]), holding.read_bucket(v[2])
    holding.leave(job)
  end
  if not limits.all and not jobs.has_flag(job, 'm') then return true end
  local bucket, rooms = holder_of(job)
  if bucket then
    holding.add(job, bucket)
    return false
  end
  take_rooms(job, rooms)
  return true
end

-- Whether the limits let a suspect start.
function limits.allows(job)
  limits.read()
  if limits.end_of_pause(redis.call('HGET', COUNTERS, 'p:' .. job.spec.route)) then return false end
  for _, room in ipairs(limits.gates_of(job.spec.route)) do
    if room.left <= 0 then return false end
  end
  return not holder_of(job)
end

-- Returns the buckets of the job's key and tenant, or else those of its rates.
local function buckets_to_pause(job)
  local divided, rates = {}, {}
  for _, limit in ipairs(limits.all or {}) do
    local covers = not limit.route_set or limit.route_set[job.spec.route]
    if covers and (not limit.kind_set or limit.kind_set[job.spec.kind]) then
      local bucket = bucket_of(limit, job)
      local list = limit.by and divided or limit.count and rates
      if bucket and list then list[#list + 1] = bucket end
    end
  end
  return #divided > 0 and divided or rates
end

-- Calls each(limit, numbers, bucket) for the budgets that cover the job, until it returns a value; returns that value.
local function for_each_budget(job, each)
  limits.read()
  for _, limit in ipairs(limits.all or {}) do
    local covers = limit.amount and (not limit.route_set or limit.route_set[job.spec.route])
    if covers and (not limit.kind_set or limit.kind_set[job.spec.kind]) then
      limits.read_subjects(job)
      local bucket = bucket_of(limit, job)
      local found = bucket and each(limit, measure_of(limit, bucket), bucket)
      if found then return found end
    end
  end
end

-- Returns the reply that refuses to spend `cost`: {'over', name of the budget, amount, money left, ms until the window ends};
-- nil: the money is left in each budget of the job.
function limits.refusal_to_spend(job, cost)
  return for_each_budget(job, function(limit, numbers, bucket)
    local spent = number_or(redis.call('GET', spent_key(numbers, bucket)), 0)
    if spent < numbers.amount and spent + cost <= numbers.amount then return nil end
    local left = string.format('%.0f', math.max(0, numbers.amount - spent))
    local ends = (math.floor(now / numbers.window_ms) + 1) * numbers.window_ms
    return { 'over', limit.name, string.format('%.0f', numbers.amount), left, string.format('%.0f', ends - now) }
  end)
end

-- Adds `cost` (billionths; negative: less was spent than reserved) to what the budgets of a job have spent.
function limits.spend(job, cost)
  for_each_budget(job, function(_, numbers, bucket)
    local key = spent_key(numbers, bucket)
    local spent = number_or(redis.call('GET', key), 0)
    local total = math.max(0, spent + cost)
    redis.call('SET', key, string.format('%.0f', total), 'PX', string.format('%.0f', 2 * numbers.window_ms))
    if spent >= numbers.amount and total < numbers.amount then
      limits.rooms[bucket] = nil
      collected.freed[bucket] = true
    end
  end)
end

-- Takes `n` tokens from a bucket that a running job counts in; negative: returns them.
function limits.correct(bucket, n)
  limits.read()
  local limit = limits.limit_of(bucket)
  if not limit or not limit.tokens or n == 0 then return end
  limits.charge(limits.room_of(limit, bucket), n)
  if n < 0 then collected.freed[bucket] = true end
end

-- Pauses the limits of a job's key and tenant for `ms`; without such limits its rates; without these its route.
function limits.pause(job, ms)
  limits.read()
  limits.read_subjects(job)
  local opens, paused = now + ms, buckets_to_pause(job)
  for _, bucket in ipairs(paused) do
    redis.call('ZADD', LIMIT_TIMES, opens, '~' .. bucket)
    limits.rooms[bucket] = nil
    collected.freed[bucket] = true
  end
  if #paused > 0 then return end
  redis.call('HSET', COUNTERS, 'p:' .. job.spec.route, string.format('%.0f', opens))
  holding.note_waiting('~' .. job.spec.route, opens)
end

-- Returns how many jobs the route itself lets start at present.
function limits.left_of_route(route)
  local v = redis.call('HMGET', COUNTERS, 'r:' .. route, 'p:' .. route)
  if limits.end_of_pause(v[2]) then return 0 end
  local most = setting_or(redis.call('HGET', CONF, 'limit:' .. route), math.huge)
  local left = most - number_or(v[1], 0) - (deltas['r:' .. route] or 0)
  for _, room in ipairs(limits.gates_of(route)) do left = math.min(left, room.left) end
  return left
end

-- Writes the times of the rates.
function limits.write()
  for bucket, room in pairs(collected.charged) do redis.call('ZADD', LIMIT_TIMES, room.tat, bucket) end
  collected.charged = {}
end

-- Notes when the gates among the rooms open that are shut.
function limits.note_shut_gates(rooms)
  for _, room in ipairs(rooms) do
    if room.left <= 0 and room.opens < math.huge then holding.note_waiting(room.bucket, room.opens) end
  end
end
