-- Kinds of job that the registered workers run, as each worker announced them: 'kind kind ...', or '*' for every kind. A
-- job whose kind a worker does not know waits for a different worker: during a rollout, old workers claim new kinds.

--- include: jobs

local kinds_known -- kind -> true, of this script's workers

local function kinds_of_workers()
  if kinds_known then return kinds_known end
  kinds_known = {}
  local flat = redis.call('HGETALL', WORKER_KINDS)
  for i = 1, #flat, 2 do
    if number_or(redis.call('ZSCORE', WORKERS, flat[i]), 0) > now then
      for kind in string.gmatch(flat[i + 1], '%S+') do kinds_known[kind] = true end
    end
  end
  return kinds_known
end

local function kinds_text()
  local KINDS_SHOWN = 20
  local names = {}
  for kind in pairs(kinds_of_workers()) do names[#names + 1] = kind end
  table.sort(names)
  local more = #names > KINDS_SHOWN and ', ...' or ''
  return #names == 0 and 'none' or table.concat(names, ', ', 1, math.min(#names, KINDS_SHOWN)) .. more
end

-- Returns the wait in ms of a job whose kind its worker does not know; or nil and the error, if no worker has known the
-- kind for longer than the pool's setting.
function kinds.wait_for(job)
  local KNOWN_FIRST_MS, KNOWN_MAX_MS = 50, 1000 -- wait for a worker that knows the kind; doubles each time
  local UNKNOWN_FIRST_MS, UNKNOWN_MAX_MS = 250, 30000 -- the same, while no worker knows it
  local announced = kinds_of_workers()
  local known = announced[job.spec.kind] or announced['*']
  local since, times = jobs.deferrals_of(job, 'unknown')
  if known then since = now end
  local longest = setting_or(redis.call('HGET', CONF, 'unknown_kind_ms'), 600000)
  local left = longest - (now - since)
  if not known and left <= 0 then
    return nil, 'no worker of the pool has known the kind ' .. job.spec.kind .. ' for ' .. longest / 1000
      .. ' s; its workers know: ' .. kinds_text()
  end
  jobs.write_deferrals(job, 'unknown', since, times + 1)
  local first, most = UNKNOWN_FIRST_MS, math.min(UNKNOWN_MAX_MS, left)
  if known then first, most = KNOWN_FIRST_MS, KNOWN_MAX_MS end
  return math.ceil(math.min(most, first * 2 ^ math.min(times, 20)) * (0.5 + math.random() / 2))
end
