-- group: changes children of a group for the running job that has started them.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 id of the parent, 2 token, 3 worker, 4 verb: stop (cancel the children), clear (forget the ends of children that
--        did not succeed), rerun (replay cleared children that have ended), 5 group, 6 run (clear: the next run) or reason
--        (stop), then number and id of each child
-- Returns {'ok', children that have not ended, numbers of children whose records are gone ...}
--        | {'stale'}: the lease is no longer current; nothing was changed
-- Events those of cancel and replay.

--- include: pool
--- include: announce
--- include: cancelling
--- include: groups
--- include: jobs
--- include: replaying

local parent, verb, name = ARGV[1], ARGV[4], ARGV[5]
local hash = PREFIX .. 'group:' .. parent
local gone = {}

local VERBS = {
  stop = function(_, _, field, child)
    if child and redis.call('HEXISTS', hash, field) == 0 then cancelling.cancel(child, ARGV[6]) end
  end,
  clear = function(group, _, field)
    local text = redis.call('HGET', hash, field)
    if not text or string.sub(text, 1, 10) == 'succeeded ' then return end
    redis.call('HDEL', hash, field)
    group.left = group.left + 1
  end,
  rerun = function(_, number, field, child)
    if redis.call('HEXISTS', hash, field) == 1 then return end
    if not child then
      gone[#gone + 1] = number
    elseif child.state == 'succeeded' then
      collected.group_ends[#collected.group_ends + 1] = { child.key, child.state, redis.call('HGET', child.key, 'result') or 'null' }
    elseif jobs.ENDS[child.state] then
      replaying.replay(child)
    end
  end,
}

local function change()
  write_though_memory_is_full()
  local job = jobs.load(parent)
  if not job or job.state ~= 'running' or job.token ~= tonumber(ARGV[2]) or job.worker ~= ARGV[3] then return { 'stale' } end
  local group = groups.read(parent, name)
  if not group then return { 'stale' } end
  for i = 7, #ARGV, 2 do VERBS[verb](group, ARGV[i], name .. ':' .. ARGV[i], jobs.load(ARGV[i + 1])) end
  if verb == 'clear' then
    group.run = math.max(group.run, tonumber(ARGV[6]))
    groups.write(parent, name, group)
  end
  announce.conclude()
  return { 'ok', (groups.read(parent, name) or group).left, unpack(gone) }
end

return change()
