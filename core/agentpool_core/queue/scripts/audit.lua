-- audit: finds contradictions between the pool's keys and resolves them on request. Serves the command line; maintenance
-- audits by itself.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 cursor ('': from the beginning), 2 report | repair
-- Returns {next cursor ('': the audit is complete), kind, job id or counter, ...}
-- Events with repair: returned, retrying, failed, cancelled; those of children.

--- include: pool
--- include: announce
--- include: audit
--- include: workers

local PART = 500 -- entries in one script
local repairs = ARGV[2] == 'repair'
local reply = { '' }
local function found(kind, what)
  reply[#reply + 1] = kind
  reply[#reply + 1] = what
end
local function loss_text(worker, ms)
  return 'worker ' .. worker .. ' was lost: its lease ran out ' .. math.floor(ms / 1000) .. ' s ago'
end

if repairs then write_though_memory_is_full() end
reply[1] = audit.check_part(ARGV[1], PART, repairs, found)
if ARGV[1] == '' then
  -- Maintenance by any worker recovers the jobs of a lost worker. These are lost workers of a pool without maintenance.
  local lease_ms = setting_or(redis.call('HGET', CONF, 'lease_ms'), 10000)
  local lost = redis.call('ZRANGE', WORKERS, 0, 9, 'WITHSCORES')
  for i = 1, #lost, 2 do
    local silent = now - tonumber(lost[i + 1])
    if silent > lease_ms then
      found('worker_lost', lost[i])
      if repairs then workers.recover_jobs_of(lost[i], loss_text(lost[i], silent), { explained = false }) end
    end
  end
  if repairs then announce.conclude() end
end
return reply
