-- Jobs that were cancelled because a job failed. `downstream:JOB` lists them in the order of their ends, as long as the dead
-- letter is kept. A replay with everything downstream restores them: each waits for its parents again.
--
-- A job with a different parent that failed stays cancelled, and moves to the list of that ancestor. A script looks at a
-- bounded number of jobs; maintenance continues with the jobs in `restoring` (job -> looks since the last change).

--- include: children
--- include: jobs

local LOOKS_MAX = 200 -- jobs in one script
local BYTES_A_LOOK = 20480 -- of parents' results that are copied; a larger result counts as several looks
local RESTORING = PREFIX .. 'restoring'
local copied -- bytes of results

local function list_of(root) return PREFIX .. 'downstream:' .. root end

-- Returns the failed ancestor in the reason of a cancellation; nil: none.
local function root_of(reason)
  return string.match(reason or '', '^upstream: job (%S+) failed')
end

-- Notes that a job was cancelled.
function downstream.note(id, reason)
  local root = root_of(reason)
  if root and redis.call('RPUSH', list_of(root), id) == 1 then
    redis.call('PEXPIRE', list_of(root), setting_or(redis.call('HGET', CONF, 'retention_dead_ms'), 604800000))
  end
end

-- Returns the parents that have not ended, and the reason to leave the job cancelled, or nil; nil: a parent is restored later.
local function look_at_parents(job, root)
  local open, obstacle, seen = {}, nil, {}
  for parent in string.gmatch(redis.call('HGET', job.key, 'after') or '', '%S+') do
    if not seen[parent] and redis.call('HEXISTS', job.key, 'in:' .. parent) == 0 then
      local v = redis.pcall('HMGET', PREFIX .. 'job:' .. parent, 'state', 'result', 'error', 'reason')
      if v[1] == 'succeeded' and v[2] then
        redis.call('HSET', job.key, 'in:' .. parent, v[2])
        copied = copied + #v[2]
      elseif jobs.STATES[v[1] or ''] then
        open[#open + 1] = parent
      elseif v[1] == 'cancelled' and root_of(v[4]) == root then
        return nil
      else
        obstacle = obstacle or children.reason(parent, v[1] or nil, children.text_of_end(v))
      end
    end
    seen[parent] = true
  end
  return open, obstacle
end

-- Notes the newest entry that names cancelled jobs: an entry up to there no longer stands for the job.
local function leave_ended(job)
  local newest = redis.call('XREVRANGE', ENDED .. 'cancelled', '+', '-', 'COUNT', 1)[1]
  if newest then redis.call('HSET', job.key, 'restored', newest[1]) end
end

local function wait_again(job, parents)
  redis.call('PERSIST', job.key)
  if job.idem and string.match(redis.call('GET', jobs.idempotency_key(job)) or '', '^%S+') == job.id then
    redis.call('PERSIST', jobs.idempotency_key(job))
  end
  jobs.note_change(job, job.state, redis.call('HGET', job.key, 'ended'))
  if redis.call('EXISTS', PREFIX .. 'kids:' .. job.id) == 0 then redis.call('HDEL', job.key, 'kids') end
  redis.call('HDEL', job.key, 'ended', 'reason', 'cancel', 'expires')
  redis.call('HSET', job.key, 'state', 'blocked', 'waits', #parents)
  leave_ended(job)
  if #parents == 0 then return children.unblock(job) end
  for _, parent in ipairs(parents) do
    redis.call('SADD', PREFIX .. 'kids:' .. parent, job.id)
    redis.call('HSET', PREFIX .. 'job:' .. parent, 'kids', '1', 'mark', '1')
  end
  redis.call('SADD', BLOCKED, job.id)
  jobs.note_change(job, 'blocked')
  jobs.append_event('blocked', job, 'replayed')
end

-- Restores a job, unless it is no longer cancelled because of the root. Returns whether a parent is to be restored first.
local function restore(id, root)
  local job = jobs.load(id)
  if not job or job.broken or job.state ~= 'cancelled' then return false end
  if root_of(redis.call('HGET', job.key, 'reason')) ~= root then return false end
  local open, obstacle = look_at_parents(job, root)
  if not open then return true end
  if obstacle then
    redis.call('HSET', job.key, 'reason', obstacle)
    downstream.note(id, obstacle)
  else
    wait_again(job, open)
  end
  return false
end

-- Whether the root was replayed and has not failed again, which would cancel the same jobs again.
local function is_replayed(root)
  local state = redis.pcall('HGET', PREFIX .. 'job:' .. root, 'state')
  return type(state) == 'string' and (jobs.STATES[state] or state == 'succeeded')
end

-- Restores jobs of one root within `budget`. Returns the rest of the budget.
local function restore_some(root, budget)
  local list, looks = list_of(root), number_or(redis.call('HGET', RESTORING, root), 0)
  while budget > 0 do
    local id = is_replayed(root) and redis.call('LPOP', list)
    if not id then
      redis.call('HDEL', RESTORING, root)
      return budget - 1
    end
    copied = 0
    if restore(id, root) then
      looks = looks + 1
      if redis.call('RPUSH', list, id) <= looks then -- no job that is left can be restored
        redis.call('DEL', list)
      end
    else
      looks = 0
    end
    budget = budget - 1 - math.floor(copied / BYTES_A_LOOK)
  end
  redis.call('HSET', RESTORING, root, looks)
  return budget
end

-- Begins to restore the jobs downstream of a replayed job. Returns their number.
function downstream.begin(root)
  local count = redis.call('LLEN', list_of(root))
  if count > 0 then redis.call('HSET', RESTORING, root, 0) end
  return count
end

-- Continues where earlier scripts stopped. Returns whether jobs are left.
function downstream.continue()
  local budget = LOOKS_MAX
  while budget > 0 do
    local root = redis.call('HKEYS', RESTORING)[1]
    if not root then return false end
    budget = restore_some(root, budget)
  end
  return redis.call('EXISTS', RESTORING) == 1
end
