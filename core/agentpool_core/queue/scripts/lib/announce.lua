-- Signals that jobs became ready: to one idle worker (bell), to the operator (pressure), and, for a critical job without a
-- slot, to the least urgent preemptible job (yield order).

--- include: children
--- include: groups
--- include: jobs
--- include: holding
--- include: limits
--- include: lines

-- `route`: the route that is at its limit; nil: a job of any route may yield its slot.
local function request_yield(route, patience)
  local PREEMPT_LOOK = 20 -- candidates read for each critical job
  for _, id in ipairs(redis.call('ZRANGE', YIELD, 0, PREEMPT_LOOK - 1)) do
    local job = jobs.load(id)
    if not job or job.broken or job.state ~= 'running' then
      redis.call('ZREM', YIELD, id)
    elseif (not route or job.spec.route == route) and id_parts(job.entry) + patience[job.spec.priority] > now - ahead then
      redis.call('ZREM', YIELD, id)
      local orders = PREFIX .. 'ctl:' .. job.worker
      redis.call('RPUSH', orders, 'yield ' .. job.token .. ' ' .. id)
      redis.call('EXPIRE', orders, LIST_TTL_SECONDS)
      jobs.note_change(job, 'yielding')
      jobs.append_event('yielding', job)
      return
    end
  end
end

local function preempt(free)
  local patience = holding.patience_of()
  for _, route in ipairs(collected.ready_critical) do
    local limit = setting_or(redis.call('HGET', CONF, 'limit:' .. route), nil)
    local running = number_or(redis.call('HGET', COUNTERS, 'r:' .. route), 0)
    if limit and running >= limit then
      request_yield(route, patience)
    elseif free <= 0 then
      request_yield(nil, patience)
    end
    free = free - 1
  end
end

-- Slots of cordoned workers that are registered. The counter field `cordoned` only says that a cordon was set: cordons
-- expire, and workers register and leave meanwhile.
local function cordoned_slots()
  local slots, holds = 0, 0
  local counters = redis.call('HGETALL', COUNTERS)
  for i = 1, #counters, 2 do
    local worker = string.match(counters[i], '^x:(.+)$')
    if worker and number_or(counters[i + 1], 0) > now then
      holds = holds + 1
      slots = slots + slots_of(worker)
    end
  end
  if holds == 0 then redis.call('HDEL', COUNTERS, 'cordoned') end
  return slots
end

-- Slots of the worker that is reserved for quarantine: no other job may use them.
local function reserved_slots(worker, alone)
  return math.max(0, slots_of(worker) - (alone and 1 or 0))
end

local function signal_ready()
  if collected.ready_count == 0 or redis.call('HGET', CONF, 'paused') == '1' then return end
  ring()
  local v = redis.call('HMGET', COUNTERS, 'queued', 'slots', 'running', 'pressure_at', 'cordoned', 'alone', 'alone_job')
  local free = number_or(v[2], 0) - number_or(v[3], 0) - (v[5] and cordoned_slots() or 0)
  if v[6] then free = free - reserved_slots(v[6], v[7]) end
  if number_or(v[1], 0) > free and now - number_or(v[4], 0) >= PRESSURE_EVERY_MS then
    redis.call('HSET', COUNTERS, 'pressure_at', now)
    -- A user whose ACL lacks the channel can still submit; the operator then sees the backlog at its next poll.
    redis.pcall('PUBLISH', string.match(PREFIX, '^ap:{[^/]*/') .. '}:pressure', string.match(PREFIX, '{(.*)}'))
  end
  if #collected.ready_critical > 0 then preempt(free) end
end

-- Ends every script that moves jobs: writes what the script has collected.
function announce.conclude()
  if collected.parents[1] then children.release_all() end
  if collected.group_ends[1] then groups.note_ends() end
  if next(collected.lined) then lines.file_new() end
  if next(collected.freed) then holding.open_freed() end
  if next(collected.charged) then limits.write() end
  write_acks()
  write_books()
  signal_ready()
  jobs.write_events()
  collected.ready_count = 0
  collected.ready_critical = {}
end
