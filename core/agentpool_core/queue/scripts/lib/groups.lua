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

-- Keeps the end of a child. Results beyond the limit are not kept: the child counts as failed.
function groups.note_end(key, state, text)
  local parent, name, number = string.match(redis.call('HGET', key, 'group') or '', '^(%S+) (%x+) (%d+)$')
  local group = parent and groups.read(parent, name)
  local hash, field = PREFIX .. 'group:' .. (parent or ''), (name or '') .. ':' .. (number or '')
  if not group or redis.call('HEXISTS', hash, field) == 1 then return end
  if state ~= 'succeeded' then text = string.sub(text or '', 1, ERROR_MAX) end
  local bytes = number_or(redis.call('HGET', hash, 'bytes'), 0) + #text
  if bytes > BYTES_MAX and state == 'succeeded' then
    state, bytes = 'failed', bytes - #text
    text = 'the results of all children have more than ' .. BYTES_MAX .. ' bytes: return a reference to data elsewhere'
  end
  redis.call('HSET', hash, field, state .. ' ' .. text, 'bytes', string.format('%.0f', bytes))
  group.left = math.max(0, group.left - 1)
  groups.write(parent, name, group)
  if group.left == 0 or (group.fast and state ~= 'succeeded') then groups.signal(parent, name, group.run) end
end

-- Begins to cancel jobs that the job has started: MODE `group`: its groups, `tree`: all, with all that these have started.
function groups.begin_stop(job, reason)
  local mode = job.started == 'tree' and 'tree' or 'group'
  redis.call('HSET', job.key, 'stop', mode .. ' 0 ' .. children.reason(job.id, 'cancelled', reason))
  redis.call('SADD', PREFIX .. 'stopping', job.id)
end

function groups.note_ends()
  for _, child in ipairs(collected.group_ends) do groups.note_end(unpack(child)) end
  collected.group_ends = {}
end
