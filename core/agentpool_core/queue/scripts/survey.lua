-- survey: counts ready jobs by the limits that their starts would take. Only reads, and therefore also runs on a replica.
--
-- The counters know the ready jobs of a route, but not which of them a key, a tenant or a kind keeps from starting: a claim finds out
-- when it reaches them. The survey looks at a bounded sample, spread over the time of their submits.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 most jobs to look at
-- Returns {[route, 'BUCKET=NEED ...' of the limits, weight, ...], [bucket, starts or tokens that are left, ms between two more ('': when a
--        job ends), ...]}: jobs of the sample, by route and limits; NEED is 1, or tokens of the job; a job weighs as many jobs as it
--        stands for
-- Events none.

--- include: pool
--- include: jobs
--- include: limits
--- include: tokens

local PARTS = 10 -- of the time in which the jobs of a long stream were submitted; each gives an equal part of the sample

local groups_of_jobs = {}

-- Returns the limits that the start of a job would take, as text.
local function needs_of(job)
  local texts = {}
  for _, pair in ipairs(limits.buckets_of(job)) do
    local room = limits.room_of(pair[1], pair[2])
    texts[#texts + 1] = pair[2] .. '=' .. string.format('%.0f', tokens.need_of(room, job))
  end
  return table.concat(texts, ' ')
end

local function count(id, entry, weight)
  local job = jobs.load(id)
  if not job or job.broken or job.state ~= 'queued' or job.entry ~= entry then return end
  local label = job.spec.route .. '\n' .. needs_of(job)
  groups_of_jobs[label] = (groups_of_jobs[label] or 0) + weight
end

-- Calls count for at most `most` of the entries of a stream that no worker has read, in parts by the time of their submits. The entries
-- of a part stand for those that follow them until the next part, as dense in time.
local function look_at_unread(stream, cursor, most, parts)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local after, from, ends = '(' .. cursor, nil, last and id_parts(last[1])
  for part = 1, parts do
    local page = redis.call('XRANGE', stream, after, '+', 'COUNT', math.ceil(most / parts))
    if #page == 0 then return end
    local begins, reached = id_parts(page[1][1]), id_parts(page[#page][1])
    from = from or begins
    local at = math.floor(from + (ends - from) * part / parts)
    local weight = math.max(1, (at - begins) / math.max(1, reached - begins))
    for _, entry in ipairs(page) do count(entry[2][2], entry[1], weight) end
    after = reached >= at and '(' .. page[#page][1] or string.format('%.0f', at)
  end
end

-- Calls count for at most `most` entries that a consumer holds.
local function look_at_held(stream, consumer, most)
  for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', most, consumer)) do
    local entry = redis.call('XRANGE', stream, item[1], item[1])[1]
    if entry then count(entry[2][2], entry[1], 1) end
  end
end

-- Returns the orders with ready jobs: {stream, sort, ready jobs, cursor}; and their number.
local function orders()
  local found, ready = {}, 0
  local counters = pairs_of(redis.call('HGETALL', COUNTERS))
  for field, text in pairs(counters) do
    local sort, place = string.match(field, '^([qyn])(:.+:%a+)$')
    local number = sort and counters['c' .. place] and number_or(text, 0) or 0
    if number > 0 then
      found[#found + 1] = { PREFIX .. 's' .. place, sort, number, counters['c' .. place] }
      ready = ready + number
    end
  end
  return found, ready
end

limits.read()
local found, ready = orders()
for _, order in ipairs(found) do
  local most = math.ceil(tonumber(ARGV[1]) * math.min(1, order[3] / ready))
  if order[2] == 'q' then
    look_at_unread(order[1], order[4], most, order[3] > most and PARTS or 1)
  else
    look_at_held(order[1], order[2] == 'y' and READY or LINED, most)
  end
end
local reply = { {}, {} }
for label, weight in pairs(groups_of_jobs) do
  local route, needs = string.match(label, '^(.-)\n(.*)$')
  local n = #reply[1]
  reply[1][n + 1], reply[1][n + 2], reply[1][n + 3] = route, needs, math.ceil(weight)
end
for bucket, room in pairs(limits.rooms) do
  local n = #reply[2]
  reply[2][n + 1], reply[2][n + 2] = bucket, string.format('%.0f', math.max(0, math.min(room.left, 1e15)))
  reply[2][n + 3] = room.interval and not room.paused and string.format('%.17g', room.interval) or ''
end
return reply
