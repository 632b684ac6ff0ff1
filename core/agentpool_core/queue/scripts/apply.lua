-- apply: cancels, replays or purges a part of the selected jobs. A call looks at a bounded number of jobs; call again with
-- the cursor. Jobs of a later time than the first call are left alone, so the calls come to an end.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 verb: cancel, replay, purge; 2 selector (JSON, lib/selection.lua), 3 cursor ('': from the beginning), 4 ms of the
--        first call ('': this is the first), 5 reason of a cancellation
-- Returns {'ok', next cursor ('': the end), jobs changed, ms of the first call, 1: children are left to end | 0}
--        | {'retired'}
-- Events those of cancel and replay.

--- include: pool
--- include: announce
--- include: cancelling
--- include: children
--- include: jobs
--- include: replaying
--- include: selection

local CHANGES_MAX = 100 -- jobs in one script
local verb, reason = ARGV[1], ARGV[5]

-- Deletes an ended job. The record stays while children need it.
local function purge_job(job)
  if not jobs.ENDS[job.state] or redis.call('EXISTS', PREFIX .. 'kids:' .. job.id) == 1 then return false end
  redis.call('ZREM', DEAD, job.id)
  if job.idem then redis.call('DEL', jobs.idempotency_key(job)) end
  if job.started then redis.call('DEL', PREFIX .. 'started:' .. job.id, PREFIX .. 'group:' .. job.id) end
  return redis.call('DEL', job.key) == 1
end

local VERBS = {
  cancel = function(job)
    if job.state == 'running' and not jobs.is_undecodable(job) then return cancelling.request(job, reason) end
    return cancelling.cancel(job, reason) == 'cancelled'
  end,
  replay = function(job)
    if job.state ~= 'failed' then return false end
    replaying.replay(job)
    return true
  end,
  purge = purge_job,
}

local function apply()
  if verb == 'replay' and redis.call('HGET', CONF, 'retired') == '1' then return { 'retired' } end
  if verb ~= 'replay' then write_though_memory_is_full() end
  local first_ms = tonumber(ARGV[4]) or now
  local selector = selection.read(ARGV[2])
  selector.before = math.min(selector.before or math.huge, first_ms + 1)
  if verb ~= 'cancel' then selector.ended = first_ms + 1 end
  local selected = {}
  local cursor = selection.each(selector, ARGV[3], selection.MATCH_FIELDS, function() return #selected >= CHANGES_MAX end,
    function(id) selected[#selected + 1] = id end)
  local changed = 0
  for _, id in ipairs(selected) do
    local job = jobs.load(id)
    if job and VERBS[verb](job) then changed = changed + 1 end
  end
  if changed == 0 and not cancelling.continue() then children.continue() end
  announce.conclude()
  return { 'ok', cursor, changed, string.format('%.0f', first_ms), redis.call('EXISTS', RELEASING, PREFIX .. 'stopping') > 0 and 1 or 0 }
end

return apply()
