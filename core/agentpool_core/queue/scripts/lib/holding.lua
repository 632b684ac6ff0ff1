-- Jobs that wait for the bucket of a limit (lib/limits.lua), and their return to the ready jobs.
--
-- A job that may not start waits in held:BUCKET, its entry under the consumer `~held`, so that no head blocks the jobs behind
-- it. When the bucket has room, the first jobs become ready at their old places; until they start they stay in held:BUCKET
-- with a negative score, which counts them against the room. `limited` orders the buckets for which jobs wait by the time at
-- which they open; +inf: when a job ends.

--- include: jobs
--- include: limits
--- include: tokens

local OPEN_MAX = 100 -- jobs that one bucket makes ready in one script
local BUCKETS_MAX = 50 -- buckets that open in one script because their time has come

local function held_key(bucket) return PREFIX .. 'held:' .. bucket end

-- Returns the name of the limit of a bucket; '' for a text that no script writes.
function holding.name_of(bucket)
  return string.match(bucket, '^[^:]+') or ''
end

-- Returns the bucket in a field of a record; nil: none, or a text that no script writes.
function holding.read_bucket(text)
  return text and holding.name_of(text) ~= '' and text or nil
end

-- Counts a job that begins (1) or ends (-1) to wait for the bucket.
local function count_held(job, bucket, by)
  bump('held', by)
  bump('h' .. job.spec.place, by)
  bump('w:' .. holding.name_of(bucket), by)
end

-- Removes a job from the limit that holds it, or that has let it go on.
function holding.leave(job)
  local bucket = job.held or job.opened
  if not bucket then return end
  redis.call('ZREM', held_key(bucket), job.id)
  redis.call('HDEL', job.key, 'held', 'opened')
  if job.held then count_held(job, bucket, -1) end
  job.held, job.opened = nil, nil
  collected.freed[bucket] = true
end

-- Returns the patience (ms) of each priority.
function holding.patience_of()
  local v = redis.call('HMGET', CONF, 'patience_critical_ms', 'patience_task_ms', 'patience_info_ms')
  return { critical = number_or(v[1], 0), task = number_or(v[2], 60000), info = number_or(v[3], 600000) }
end

-- The order among jobs that wait for a bucket: enqueue time plus patience, as among heads.
function holding.order_of(job)
  holding.patience = holding.patience or holding.patience_of()
  local ms, seq = id_parts(job.entry)
  return jobs.suspect_score((ms + holding.patience[job.spec.priority]) .. '-' .. seq)
end

-- Notes that jobs wait for the bucket, which opens at that time (ms).
function holding.note_waiting(bucket, opens)
  redis.call('ZADD', LIMITED, opens == math.huge and '+inf' or opens, bucket)
end

-- Whether an earlier job waits for the tokens of a room: smaller jobs would take them from a large one for ever.
function holding.is_behind(room, job)
  local first = room.tokens and redis.call('ZRANGEBYSCORE', held_key(room.bucket), '0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return first and tonumber(first) < tonumber(holding.order_of(job))
end

-- Holds a ready job until the bucket has room.
function holding.add(job, bucket)
  local room = limits.rooms[bucket]
  redis.call('XCLAIM', job.spec.stream, GROUP, HELD, 0, job.entry, 'JUSTID')
  if not holding.is_behind(room, job) then holding.note_waiting(bucket, limits.opening_of(room, tokens.need_of(room, job))) end
  redis.call('ZADD', held_key(bucket), holding.order_of(job), job.id)
  redis.call('HSET', job.key, 'held', bucket, 'mark', '1')
  count_held(job, bucket, 1)
end

-- Returns a job that waits for the bucket; nil, and removes the id, if no such job does.
local function held_job(id, bucket)
  local job = jobs.load(id)
  if job and not job.broken and job.state == 'queued' and job.held == bucket then return job end
  redis.call('ZREM', held_key(bucket), id)
end

-- Makes a held job ready. Returns whether it counts against the room: a job of a full route would keep the room from jobs of
-- other routes; it is admitted, or held again, when its route has room. `left_of`: by route, jobs that it lets start.
local function let_go(job, bucket, left_of)
  local route = job.spec.route
  left_of[route] = (left_of[route] or limits.left_of_route(route)) - 1
  local counts = left_of[route] >= 0
  redis.call('HDEL', job.key, 'held')
  if counts then
    redis.call('HSET', job.key, 'opened', bucket)
    redis.call('ZADD', held_key(bucket), '-' .. holding.order_of(job), job.id)
  else
    redis.call('ZREM', held_key(bucket), job.id)
  end
  count_held(job, bucket, -1)
  jobs.ready_again(job)
  return counts
end

-- Returns how many starts or tokens the jobs will take that the bucket has let go, and that have not started.
local function promised_of(room, key)
  local count, sum = redis.call('ZCOUNT', key, '-inf', '(0'), 0
  if not room.tokens then return count end
  if count >= OPEN_MAX then return math.huge end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', '(0')) do
    local job = jobs.load(id)
    if job then
      limits.read_subjects(job)
      sum = sum + tokens.amount_of(room, job)
    end
  end
  return sum
end

-- Makes jobs that wait for the bucket ready, as far as it has room beside the promised. Returns the room that is left, how much
-- is promised then, and how much the first job needs that stays.
local function let_go_of(bucket, room, key)
  local promised, left_of = promised_of(room, key), {}
  local left = (room.tokens and room.left or math.min(room.left, OPEN_MAX)) - promised
  for _, id in ipairs(left > 0 and redis.call('ZRANGEBYSCORE', key, '0', '+inf', 'LIMIT', 0, OPEN_MAX) or {}) do
    local job = held_job(id, bucket)
    if job then
      if room.tokens then limits.read_subjects(job) end
      local need, amount = tokens.need_of(room, job), tokens.amount_of(room, job)
      if need > left then return left, promised, need end
      if let_go(job, bucket, left_of) then left, promised = left - amount, promised + amount end
    end
  end
  return left, promised, 1
end

-- Makes the first jobs that wait for the bucket ready, as many as it has room for.
local function open_bucket(bucket)
  limits.read()
  local limit = limits.limit_of(bucket)
  if not collected.charged[bucket] then limits.rooms[bucket] = nil end -- jobs have left it since it was read
  local room = limit and limits.room_of(limit, bucket) or { left = math.huge } -- the limit is gone
  local route = string.match(bucket, '^~(.+)$')
  if route or (limit and limit.gate) then
    redis.call('ZREM', LIMITED, bucket)
    collected.ready_count = collected.ready_count + 1
  end
  if route then redis.call('HDEL', COUNTERS, 'p:' .. route) end
  local key = held_key(bucket)
  local left, promised, need = let_go_of(bucket, room, key)
  if not redis.call('ZRANGEBYSCORE', key, '0', '+inf', 'LIMIT', 0, 1)[1] then
    redis.call('ZREM', LIMITED, bucket)
  elseif room.tokens then -- jobs that are let go look here again when they start
    holding.note_waiting(bucket, need > left and (need + promised <= room.burst and limits.opening_of(room, need + promised) or math.huge) or now)
  elseif room.left <= 0 then
    holding.note_waiting(bucket, room.opens)
  else
    holding.note_waiting(bucket, left > 0 and now or math.huge)
  end
end

-- Stops counting the jobs that a bucket has let go, and whose route has filled since: they would keep its room from jobs of other routes.
function holding.forget_shut(bucket)
  local key, left_of = held_key(bucket), {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', '(0', 'LIMIT', 0, OPEN_MAX)) do
    local job = jobs.load(id)
    local route = job and job.spec.route
    if job then left_of[route] = left_of[route] or limits.left_of_route(route) end
    if job and left_of[route] <= 0 then
      redis.call('ZREM', key, id)
      redis.call('HDEL', job.key, 'opened')
    end
  end
end

-- Opens the buckets that jobs have left in this script.
function holding.open_freed()
  local bucket = next(collected.freed)
  while bucket do
    collected.freed[bucket] = nil
    open_bucket(bucket)
    bucket = next(collected.freed)
  end
end

-- Opens the buckets whose time has come.
function holding.open_due()
  for _, bucket in ipairs(redis.call('ZRANGEBYSCORE', LIMITED, '-inf', now, 'LIMIT', 0, BUCKETS_MAX)) do
    open_bucket(bucket)
  end
end
