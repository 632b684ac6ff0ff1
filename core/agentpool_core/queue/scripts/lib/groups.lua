-- Groups: children that a running job starts together, and waits for without a slot (`ctx.map`, `ctx.gather`).
--
-- The field `group` of a child is PARENT GROUP NUMBER. The hash group:PARENT holds for each GROUP its text
-- "left run fast most" (children that have not ended; number of the run; 1: the run ends with the first child that did not
-- succeed; most children that run at once, 0: no limit, lib/limits.lua), for each ended child GROUP:NUMBER -> its state, a
-- blank, and its result or error, and `bytes`, the size of all of these. A run ends as a signal of the parent: ~GROUP=RUN. A child that is replayed after its end changes nothing.
--
-- The end of a cancelled job cancels its groups; a cancelled tree, all that the job has started. The jobs with children left
-- to cancel are in `stopping`; their field `stop` holds "MODE CURSOR REASON", and lib/cancelling.lua continues.

--- include: children
--- include: jobs
--- include: pause

local BYTES_MAX = 16777216 -- of the results of all children of a job, as in groups.py
local ERROR_MAX = 2000 -- bytes of the error of a child

-- Returns the group; nil: there is none, or a text that no script writes.
function groups.read(parent, name)
  local text = redis.call('HGET', PREFIX .. 'group:' .. parent, name)
  local left, run, fast, most = string.match(text or '', '^(%d+) (%d+) ([01]) (%d+)$')
  return left and { left = number_or(left, 0), run = number_or(run, 1), fast = fast == '1', most = number_or(most, 0) }
end

function groups.write(parent, name, group)
  local text = string.format('%d %d %s %d', group.left, group.run, group.fast and '1' or '0', group.most)
  redis.call('HSET', PREFIX .. 'group:' .. parent, name, text)
end

-- Ends the run of a group: the parent's wait for its children is over.
function groups.signal(parent, name, run)
  local job = jobs.load(parent)
  if not job or jobs.is_undecodable(job) or not jobs.STATES[job.state] then return end
  redis.call('HSET', job.key, 'sig:~' .. name .. '=' .. run, 'true')
  local wait = redis.call('HGET', job.key, 'wait')
  if job.state == 'waiting' and pause.is_signalled(job, wait or '') then pause.resume(job) end
end

-- Begins to cancel jobs that the job has started: MODE `group`: its groups, `tree`: all, with all that these have started.
function groups.begin_stop(job, reason)
  local mode = job.started == 'tree' and 'tree' or 'group'
  redis.call('HSET', job.key, 'stop', mode .. ' 0 ' .. children.reason(job.id, 'cancelled', reason))
  redis.call('SADD', PREFIX .. 'stopping', job.id)
end

-- Reads the group of a child once in a script: `known` has the groups by text, false: there is none. Returns the group, and
-- the child's number in it.
local function group_of(key, known)
  local parent, name, number = string.match(redis.call('HGET', key, 'group') or '', '^(%S+) (%x+) (%d+)$')
  if not parent then return nil end
  local text = parent .. ' ' .. name
  if known[text] == nil then
    local group = groups.read(parent, name)
    if group then group.parent, group.name, group.hash = parent, name, PREFIX .. 'group:' .. parent end
    known[text] = group or false
  end
  return known[text], number
end

-- Keeps the end of a child. Results beyond the limit are not kept: the child counts as failed. Returns the kept bytes.
local function keep_end(group, number, state, text, bytes)
  local added = 0
  if state ~= 'succeeded' then
    text = string.sub(text or '', 1, ERROR_MAX)
    added = #text
  elseif bytes + #text > BYTES_MAX then
    state = 'failed'
    text = 'the results of all children have more than ' .. BYTES_MAX .. ' bytes: return a reference to data elsewhere'
  else
    added = #text
  end
  if redis.call('HSETNX', group.hash, group.name .. ':' .. number, state .. ' ' .. text) == 0 then return bytes end
  group.left = math.max(0, group.left - 1)
  group.changed = true
  group.failed = group.failed or state ~= 'succeeded'
  return bytes + added
end

-- Keeps the ends of children, and writes each of their groups once.
function groups.note_ends()
  local known, bytes = {}, {} -- groups by text, kept bytes by parent
  for _, child in ipairs(collected.group_ends) do
    local group, number = group_of(child[1], known)
    if group then
      local kept = bytes[group.hash] or number_or(redis.call('HGET', group.hash, 'bytes'), 0)
      bytes[group.hash] = keep_end(group, number, child[2], child[3], kept)
    end
  end
  collected.group_ends = {}
  for hash, kept in pairs(bytes) do redis.call('HSET', hash, 'bytes', string.format('%.0f', kept)) end
  for _, group in pairs(known) do
    if group and group.changed then
      groups.write(group.parent, group.name, group)
      if group.left == 0 or (group.fast and group.failed) then groups.signal(group.parent, group.name, group.run) end
    end
  end
end
