-- Fair shares: tenants of one place (route and priority) take turns by weight, by start-time fair queueing over started jobs.
--
-- A job with a tenant waits in the line of its tenant, line:PLACE:SHA1, its entry pending under the consumer `~lined`. While
-- lines exist, jobs without a tenant wait in the line line:PLACE:-. turns:PLACE orders the lines by the start tag of their
-- next job: the virtual time at which the line has had its share. A start adds 1 / weight to the tag. The virtual time of
-- the place, `v:PLACE`, is the tag of the last start; a line that becomes busy does not begin before it, so a tenant that was
-- idle has saved nothing. tags:PLACE keeps the tag of a line that is empty for as long as others wait.
--
-- Requeued jobs have had their turn: they are ready at their places, by age.

--- include: jobs
--- include: turns

local MORE = 20 -- entries of other jobs that are moved to lines beside those of this script
local EMPTY_MAX = 100 -- empty lines skipped at once
local NOBODY = '-'

local function digest_of(tenant) return tenant and redis.sha1hex(tenant) or NOBODY end
local function line_key(place, digest) return PREFIX .. 'line' .. place .. ':' .. digest end
local function turns_key(place) return PREFIX .. 'turns' .. place end
local function tags_key(place) return PREFIX .. 'tags' .. place end

local function virtual_time(place)
  return number_or(redis.call('HGET', COUNTERS, 'v' .. place), 0)
end

-- Adds entries, in order, to the line of a tenant.
function lines.add(place, digest, entries)
  local key = line_key(place, digest)
  local was_empty = redis.call('EXISTS', key) == 0
  local args = {}
  for _, entry in ipairs(entries) do
    args[#args + 1] = jobs.suspect_score(entry)
    args[#args + 1] = entry
  end
  each_slice(args, 'ZADD', key)
  if not was_empty then return end
  local known = redis.call('ZSCORE', turns_key(place), digest) or redis.call('ZSCORE', tags_key(place), digest)
  local tag = number_or(known, 0)
  redis.call('ZADD', turns_key(place), math.max(tag, virtual_time(place)), digest)
  redis.call('ZREM', tags_key(place), digest)
end

-- Returns the digest of an entry's tenant; nil: the entry has no job that waits.
local function tenant_of(entry)
  local known = collected.tenants[entry[1]]
  if known then return known end
  local v = redis.pcall('HMGET', PREFIX .. 'job:' .. entry[2][2], 'state', 'tenant')
  if v.err then return NOBODY end -- the claim that reaches the entry ends the job
  return v[1] and not jobs.ENDS[v[1]] and digest_of(v[2]) or nil
end

-- Moves the first undelivered entries of a place, at most `most`, to lines.
function lines.file(place, most)
  local stream = PREFIX .. 's' .. place
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, LINED, 'COUNT', most, 'STREAMS', stream, '>')
  if not read then return end
  local entries, left = read[1][2], counter_of('t' .. place)
  local by_tenant, filed = {}, 0
  for _, entry in ipairs(entries) do
    local digest = tenant_of(entry)
    if digest then
      by_tenant[digest] = by_tenant[digest] or {}
      table.insert(by_tenant[digest], entry[1])
      filed = filed + 1
    else
      drop_entry(stream, entry[1])
    end
  end
  for digest, ids in pairs(by_tenant) do lines.add(place, digest, ids) end
  local gone = #entries - filed
  local swept = math.min(gone, left)
  bump('t' .. place, -swept)
  bump('queued', swept - gone) -- records that were lost while the jobs waited
  bump('q' .. place, swept - #entries)
  bump('n' .. place, filed)
  redis.call('HSET', COUNTERS, 'c' .. place, entries[#entries][1])
  if redis.call('HGET', COUNTERS, 'd' .. place) then acked[stream] = acked[stream] or {} end -- write_acks can delete it now
end

-- Moves the jobs with tenants that this script has made ready to lines.
function lines.file_new()
  for place, count in pairs(collected.lined) do lines.file(place, count + MORE) end
  collected.lined = {}
end

-- Removes a waiting job from its line. Returns whether the job was in a line.
function lines.leave(job)
  if number_or(redis.call('HGET', COUNTERS, 'n' .. job.spec.place), 0) <= 0 then return false end
  local tenant = jobs.has_flag(job, 'n') and redis.call('HGET', job.key, 'tenant')
  return redis.call('ZREM', line_key(job.spec.place, digest_of(tenant)), job.entry) == 1
end

-- Finds the line whose turn it is, and sets digest and entry of the candidate. Returns false if no job waits.
function lines.look(c)
  for _ = 1, EMPTY_MAX do
    local turn = redis.call('ZRANGE', turns_key(c.place), 0, 0, 'WITHSCORES')
    if not turn[1] then return false end
    c.digest, c.entry = turn[1], redis.call('ZRANGE', line_key(c.place, turn[1]), 0, 0)[1]
    if c.entry then return true end
    turns.rest(turns.at(PREFIX, c.place), { turn[1] }, { turn[2], turn[1] })
  end
  return false
end

function lines.front(c, count)
  local items = {}
  for i, entry in ipairs(redis.call('ZRANGE', line_key(c.place, c.digest), 0, count - 1)) do items[i] = { entry } end
  return items
end

-- Takes up to `count` entries in turn for a worker; of the line whose turn it is, if `alone`. Returns those that still exist.
function lines.take(c, worker, count, alone)
  local at, entries = turns.at(PREFIX, c.place), {}
  while not entries[1] do -- a line that is found empty loses its turn
    local next_turns = turns.next(at, count)
    if not next_turns.digests[1] then return {} end
    entries = turns.take(at, next_turns, alone and c.digest)
    c.virtual = turns.pass(at, next_turns, c.virtual or 0)
  end
  redis.call('HSET', COUNTERS, 'v' .. c.place, string.format('%.6f', c.virtual))
  return redis.call('XCLAIM', c.stream, GROUP, worker, 0, unpack(entries))
end

-- Whether a line holds the entry of a ready job; adds the entry with `repairs`.
function lines.check(job, repairs)
  local digest = digest_of(jobs.has_flag(job, 'n') and redis.call('HGET', job.key, 'tenant'))
  local key = line_key(job.spec.place, digest)
  local tag = redis.call('ZSCORE', turns_key(job.spec.place), digest)
  if tag and redis.call('ZSCORE', key, job.entry) then return true end
  if repairs then
    redis.call('ZADD', key, jobs.suspect_score(job.entry), job.entry)
    if not tag then redis.call('ZADD', turns_key(job.spec.place), virtual_time(job.spec.place), digest) end
  end
  return false
end
