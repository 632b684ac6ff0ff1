-- snapshot: returns the state of a pool's queue at one moment. Only reads, and therefore also runs on a replica.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 'held': count the jobs that each worker holds now, instead of the number in its last report; or none
-- Returns {'unknown_pool'} | {'ok', now ms, revision, paused 0/1, retired 0/1, routes (JSON), scheduled, blocked,
--        dead, oldest ready job's enqueue ms by the pool's time or -1, limits (JSON),
--        scheduled and waiting jobs and limits whose time has come, [limit, time of its rate, money spent or running jobs, ...] of
--        the limits without `by`, [counters field, value, ...],
--        [worker, expiry ms, info, ...], waiting}
-- Events none.

--- include: pool
--- include: schedules

local conf = redis.call('HMGET', CONF, 'revision', 'paused', 'routes', 'retired', 'limits')
if not conf[1] then return { 'unknown_pool' } end
local counters = redis.call('HGETALL', COUNTERS)
local cursors = {}
for i = 1, #counters, 2 do
  local place = string.match(counters[i], '^c:(.+)$')
  if place then cursors[place] = counters[i + 1] end
end

local consumers = { y = READY, u = SUSPECT, n = LINED }
local oldest = -1
local function older(item)
  local ms = item and id_parts(item[1])
  if ms and (oldest < 0 or ms < oldest) then oldest = ms end
end
for i = 1, #counters, 2 do
  local sort, place = string.match(counters[i], '^([qyun]):(.+)$')
  if sort and (tonumber(counters[i + 1]) or 0) > 0 then
    local stream = PREFIX .. 's:' .. place
    if sort == 'q' then
      older(redis.call('XRANGE', stream, '(' .. cursors[place], '+', 'COUNT', 1)[1])
    else
      older(redis.call('XPENDING', stream, GROUP, '-', '+', 1, consumers[sort])[1])
    end
  end
end

-- Returns the name and the time of the rate, the money spent or the number of running jobs, of each limit that is not divided.
local function use_of_limits(text)
  local uses = {}
  for _, limit in ipairs(read_limits(text)) do
    if not limit.by then
      uses[#uses + 1] = limit.name
      local window = limit.amount and ':' .. string.format('%.0f', math.floor(now / limit.window_ms))
      uses[#uses + 1] = window and (redis.call('GET', PREFIX .. 'spent:' .. limit.name .. window) or '0')
        or limit.count and (redis.call('ZSCORE', LIMIT_TIMES, limit.name) or '0')
        or tostring(redis.call('SCARD', PREFIX .. 'using:' .. limit.name))
    end
  end
  return uses
end

local held = {}
if ARGV[1] == 'held' then
  for place in pairs(cursors) do
    for _, each in ipairs(redis.call('XPENDING', PREFIX .. 's:' .. place, GROUP)[4] or {}) do
      held[each[1]] = (held[each[1]] or 0) + tonumber(each[2])
    end
  end
end

local workers = {}
local leases = redis.call('ZRANGE', WORKERS, 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  workers[#workers + 1] = leases[i]
  workers[#workers + 1] = leases[i + 1]
  local info = redis.call('HGET', WORKER_INFO, leases[i]) or '0 0 0 -'
  if ARGV[1] == 'held' then info = string.gsub(info, '^(%d+) %d+', '%1 ' .. (held[leases[i]] or 0)) end
  workers[#workers + 1] = info
end
return {
  'ok', now, conf[1], conf[2] == '1' and 1 or 0, conf[4] == '1' and 1 or 0, conf[3] or '[]',
  redis.call('ZCARD', DUE), redis.call('SCARD', BLOCKED), redis.call('ZCARD', DEAD),
  oldest < 0 and -1 or oldest + ahead, conf[5] or '[]',
  redis.call('ZCOUNT', DUE, '-inf', now) + redis.call('ZCOUNT', LIMITED, '-inf', now)
    + redis.call('ZCOUNT', WAITING, '-inf', now) + redis.call('ZCOUNT', schedules.due, '-inf', now),
  use_of_limits(conf[5]), counters, workers, redis.call('ZCARD', WAITING),
}
