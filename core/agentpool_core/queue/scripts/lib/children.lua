-- Children of ended jobs. A child is released if its parent succeeded and cancelled otherwise, exactly once.
--
-- The number of children is unlimited, and a cancelled child may have children itself: a script therefore releases a
-- bounded part. The rest stays in kids:PARENT, and the parent in `releasing`, where maintenance continues.

local RELEASE_MAX = 200 -- children in one script
local BYTES_A_CHILD = 20480 -- of the parent's result, copied to each child; a larger result counts as several children

-- Makes a job whose parents have ended ready, or scheduled if the job is due later.
local function unblock(job)
  local due = due_of(job)
  redis.call('SREM', BLOCKED, job.id)
  if due > now then
    redis.call('ZADD', DUE, due, job.id)
    redis.call('HSET', job.key, 'state', 'scheduled')
    note_change(job, 'scheduled')
    append_event('scheduled', job)
  else
    note_change(job, 'queued')
    redis.call('HSET', job.key, 'state', 'queued', 'entry', append_entry(job))
    append_event('queued', job)
  end
end

local function cancel_child(child, parent)
  redis.call('SREM', BLOCKED, child.id)
  if has_flag(child, 't') then redis.call('ZREM', TTL, child.id) end
  finish(child, 'cancelled', 'reason', 'upstream', 'upstream ' .. parent)
end

local function release_child(id, parent, state, result)
  local child = load(id)
  if child and is_undecodable(child) then return fail_undecodable(child) end
  if not child or child.state ~= 'blocked' then return end
  if state ~= 'succeeded' and not has_flag(child, 'u') then return cancel_child(child, parent) end
  if state == 'succeeded' then redis.call('HSET', child.key, 'in:' .. parent, result) end
  local waits = redis.pcall('HINCRBY', child.key, 'waits', -1)
  if type(waits) == 'table' then
    child.broken = undecodable('waits', redis.call('HGET', child.key, 'waits'))
    fail_undecodable(child)
  elseif waits == 0 then
    unblock(child)
  end
end

-- Removes at most `most` children from the set. Returns their ids, and whether children are left.
local function take_children(kids, most)
  if redis.call('SCARD', kids) > most then return redis.call('SPOP', kids, most), true end
  local ids = redis.call('SMEMBERS', kids)
  redis.call('DEL', kids)
  return ids, false
end

-- Releases children of one parent within `budget`. Returns the rest of the budget.
local function release_some(parent, state, result, budget)
  local cost = 1 + math.floor(#(result or '') / BYTES_A_CHILD)
  local ids, more = take_children(PREFIX .. 'kids:' .. parent, math.max(1, math.floor(budget / cost)))
  for _, id in ipairs(ids) do release_child(id, parent, state, result) end
  if more then redis.call('SADD', RELEASING, parent) end
  return budget - cost * #ids
end

-- Releases the children of jobs that ended in this script. Returns the rest of the budget.
local function release_children(budget)
  budget = budget or RELEASE_MAX
  local first = 1
  while ended[first] do
    if budget > 0 then
      budget = release_some(ended[first][1], ended[first][2], ended[first][3], budget)
    else
      redis.call('SADD', RELEASING, ended[first][1])
    end
    first = first + 1
  end
  ended = {}
  return budget
end

-- Continues where earlier scripts stopped. Returns whether children are left. A parent that has not ended was replayed:
-- the rest of its children wait for it again. A parent without a record or without a result counts as one that did
-- not succeed.
local function continue_release()
  local budget = RELEASE_MAX
  while budget > 0 do
    local parent = redis.call('SRANDMEMBER', RELEASING)
    if not parent then return false end
    redis.call('SREM', RELEASING, parent)
    local v = redis.pcall('HMGET', PREFIX .. 'job:' .. parent, 'state', 'result')
    if not STATES[v[1] or ''] then ended[1] = { parent, v[2] and v[1] or 'cancelled', v[2] } end
    budget = release_children(budget)
  end
  return redis.call('EXISTS', RELEASING) == 1
end
