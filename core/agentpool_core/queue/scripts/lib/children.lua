-- Children of ended jobs. A child is released by the end that its condition asks for and cancelled otherwise, exactly once.
--
-- The number of children is unlimited, and a cancelled child may have children itself: a script therefore releases a
-- bounded part. The rest stays in kids:PARENT, and the parent in `releasing`, where maintenance continues.

--- include: downstream
--- include: jobs

local RELEASE_MAX = 200 -- children in one script
local BYTES_A_CHILD = 20480 -- of the parent's result, copied to each child; a larger result counts as several children

children.unneeded = 'upstream: every parent succeeded' -- reason of a cancellation

-- Returns why a job is cancelled because of a parent: the first ancestor that did not succeed, and its end. `text`: the
-- parent's error or reason.
function children.reason(parent, state, text)
  if state == 'cancelled' and string.sub(text or '', 1, 9) == 'upstream:' then return text end
  local why = string.sub(string.match(text or '', '^[^\n]*'), 1, 200)
  return 'upstream: job ' .. parent .. ' ' .. (state or 'is gone') .. (why ~= '' and ': ' .. why or '')
end

-- Returns the error of a failed parent, or the reason of its other end. `v`: the parent's state, result, error and reason.
function children.text_of_end(v) return v[1] == 'failed' and v[3] or v[4] or nil end

local function cancel(child, reason)
  redis.call('SREM', BLOCKED, child.id)
  if jobs.has_flag(child, 't') then redis.call('ZREM', TTL, child.id) end
  jobs.finish(child, 'cancelled', 'reason', reason, reason)
  downstream.note(child.id, reason)
end

local function all_succeeded(job)
  for parent in string.gmatch(redis.call('HGET', job.key, 'after') or '', '%S+') do
    if redis.call('HEXISTS', job.key, 'in:' .. parent) == 0 then return false end
  end
  return true
end

-- Makes a job whose parents have ended ready, or scheduled if the job is due later. A job that is for failures only is
-- cancelled if there is none.
function children.unblock(job)
  if jobs.has_flag(job, 'f') and all_succeeded(job) then return cancel(job, children.unneeded) end
  local due = jobs.due_of(job)
  redis.call('SREM', BLOCKED, job.id)
  if due > now then
    redis.call('ZADD', DUE, due, job.id)
    redis.call('HSET', job.key, 'state', 'scheduled')
    jobs.note_change(job, 'scheduled')
    jobs.append_event('scheduled', job)
  else
    jobs.note_change(job, 'queued')
    redis.call('HSET', job.key, 'state', 'queued', 'entry', jobs.append_entry(job))
    jobs.append_event('queued', job)
  end
end

local function release(id, parent, state, result)
  local child = jobs.load(id)
  if child and jobs.is_undecodable(child) then return jobs.fail_undecodable(child) end
  if not child or child.state ~= 'blocked' then return end
  if state ~= 'succeeded' and not jobs.has_flag(child, 'u') then
    return cancel(child, children.reason(parent, state, result))
  end
  if state == 'succeeded' then
    redis.call('HSET', child.key, 'in:' .. parent, result)
  else
    redis.call('HSET', child.key, 'end:' .. parent, state or '')
  end
  local waits = redis.pcall('HINCRBY', child.key, 'waits', -1)
  if type(waits) == 'table' then
    child.broken = jobs.undecodable('waits', redis.call('HGET', child.key, 'waits'))
    jobs.fail_undecodable(child)
  elseif waits == 0 then
    children.unblock(child)
  end
end

-- Removes at most `most` children from the set. Returns their ids, and whether children are left.
local function take(kids, most)
  if redis.call('SCARD', kids) > most then return redis.call('SPOP', kids, most), true end
  local ids = redis.call('SMEMBERS', kids)
  redis.call('DEL', kids)
  return ids, false
end

-- Releases children of one parent within `budget`. Returns the rest of the budget.
local function release_some(parent, state, result, budget)
  local cost = 1 + math.floor(#(result or '') / BYTES_A_CHILD)
  local ids, more = take(PREFIX .. 'kids:' .. parent, math.max(1, math.floor(budget / cost)))
  for _, id in ipairs(ids) do release(id, parent, state, result) end
  if more then redis.call('SADD', RELEASING, parent) end
  return budget - cost * #ids
end

-- Releases the children of jobs that ended in this script. Returns the rest of the budget.
function children.release_all(budget)
  budget = budget or RELEASE_MAX
  local first = 1
  while collected.parents[first] do
    if budget > 0 then
      budget = release_some(collected.parents[first][1], collected.parents[first][2], collected.parents[first][3], budget)
    else
      redis.call('SADD', RELEASING, collected.parents[first][1])
    end
    first = first + 1
  end
  collected.parents = {}
  return budget
end

-- Continues where earlier scripts stopped. Returns whether children are left. A parent that has not ended was replayed:
-- the rest of its children wait for it again. A parent without a record or without a result counts as one that did
-- not succeed.
function children.continue()
  local budget = RELEASE_MAX
  while budget > 0 do
    local parent = redis.call('SRANDMEMBER', RELEASING)
    if not parent then return false end
    redis.call('SREM', RELEASING, parent)
    local v = redis.pcall('HMGET', PREFIX .. 'job:' .. parent, 'state', 'result', 'error', 'reason')
    if v[1] == 'succeeded' and v[2] then
      collected.parents[1] = { parent, 'succeeded', v[2] }
    elseif not jobs.STATES[v[1] or ''] then
      collected.parents[1] = { parent, jobs.ENDS[v[1] or ''] and v[1] ~= 'succeeded' and v[1] or nil, children.text_of_end(v) }
    end
    budget = children.release_all(budget)
  end
  return redis.call('EXISTS', RELEASING) == 1
end
