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

local function weight_of(digest)
  if lines.weighted == nil then
    local tenants = redis.call('HGET', CONF, 'tenants')
    lines.weighted = tenants and tenants ~= '[]' or false
  end
  local weight = lines.weighted and number_or(redis.call('HGET', CONF, 'weight:' .. digest), 1) or 1
  return weight > 0 and weight or 1
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
  local entries, left = read[1][2], number_or(redis.call('HGET', COUNTERS, 't' .. place), 0)
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

-- Removes empty lines from the turns; their tags (tag, digest, ...) stay while other lines wait.
local function rest(place, digests, tags)
  redis.call('ZREM', turns_key(place), unpack(digests))
  if redis.call('EXISTS', turns_key(place)) == 1 then
    redis.call('ZADD', tags_key(place), unpack(tags))
  else
    redis.call('DEL', tags_key(place))
  end
end

-- Finds the line whose turn it is, and sets digest and entry of the candidate. Returns false if no job waits.
function lines.look(c)
  for _ = 1, EMPTY_MAX do
    local turn = redis.call('ZRANGE', turns_key(c.place), 0, 0, 'WITHSCORES')
    if not turn[1] then return false end
    c.digest, c.entry = turn[1], redis.call('ZRANGE', line_key(c.place, turn[1]), 0, 0)[1]
    if c.entry then return true end
    rest(c.place, { turn[1] }, { turn[2], turn[1] })
  end
  return false
end

function lines.front(c, count)
  local items = {}
  for i, entry in ipairs(redis.call('ZRANGE', line_key(c.place, c.digest), 0, count - 1)) do items[i] = { entry } end
  return items
end

-- Counts the turns of lines, ordered by tag, among the next `count` starts: each start takes the line with the smallest tag.
local function count_turns(turns, count)
  local starts, tags, steps = turns.starts, turns.next_tags, turns.steps
  local seen, best = 0, nil -- lines that have had a turn, and the one among them with the smallest tag
  for _ = 1, count do
    local turn = seen + 1
    if not tags[turn] or (best and tags[best] < tags[turn]) then turn = best else seen = turn end
    starts[turn] = starts[turn] + 1
    tags[turn] = tags[turn] + steps[turn]
    best = best or turn
    if tags[turn] < tags[best] then best = turn end
    for i = 1, turn == best and seen or 0 do
      if tags[i] < tags[best] then best = i end
    end
  end
end

-- Returns the lines that have a turn among the next `count` starts, as lists with an element for each line: a table for
-- each line would cost a claim more than the turns themselves.
local function turns_of(place, count)
  local flat = redis.call('ZRANGE', turns_key(place), 0, count - 1, 'WITHSCORES')
  local digests, tags, next_tags, steps, starts = {}, {}, {}, {}, {}
  for i = 1, #flat / 2 do
    local digest, tag = flat[2 * i - 1], tonumber(flat[2 * i])
    digests[i], tags[i], next_tags[i], steps[i], starts[i] = digest, tag, tag, 1 / weight_of(digest), 0
  end
  local turns = { digests = digests, tags = tags, next_tags = next_tags, steps = steps, starts = starts }
  if #digests == 1 then starts[1] = count elseif #digests > 1 then count_turns(turns, count) end
  return turns
end

-- Takes `count` entries of a line. Returns how many there were.
local function take_turn(line, count, ids)
  local popped = redis.call('ZPOPMIN', line, count)
  local n = #ids
  for i = 1, #popped, 2 do
    n = n + 1
    ids[n] = popped[i]
  end
  return #popped / 2
end

-- Takes the entries of the next turns, and writes the lines' tags. Returns the entries; nil: no line is left.
local function take_turns_of(c, count, alone)
  local ids, going_on, empty, rested = {}, {}, {}, {}
  local turns, virtual, lines_of_place = turns_of(c.place, count), c.virtual or 0, line_key(c.place, '')
  for i, digest in ipairs(turns.digests) do
    local starts, step = turns.starts[i], turns.steps[i]
    if starts > 0 and (not alone or digest == c.digest) then
      local taken = take_turn(lines_of_place .. digest, starts, ids)
      local tag = turns.tags[i] + taken * step
      if taken > 0 then virtual = math.max(virtual, tag - step) end
      local args = taken == starts and going_on or rested
      args[#args + 1] = tag
      args[#args + 1] = digest
      if taken < starts then empty[#empty + 1] = digest end
    end
  end
  c.virtual = virtual
  if #going_on > 0 then redis.call('ZADD', turns_key(c.place), unpack(going_on)) end
  if #empty > 0 then rest(c.place, empty, rested) end
  return turns.digests[1] and ids
end

-- Takes up to `count` entries in turn for a worker; of the line whose turn it is, if `alone`. Returns those that still exist.
function lines.take(c, worker, count, alone)
  local ids
  repeat ids = take_turns_of(c, count, alone) until not ids or #ids > 0 -- a line that is found empty loses its turn
  if not ids then return {} end
  redis.call('HSET', COUNTERS, 'v' .. c.place, string.format('%.6f', c.virtual))
  redis.call('ZREMRANGEBYSCORE', tags_key(c.place), '-inf', c.virtual)
  return redis.call('XCLAIM', c.stream, GROUP, worker, 0, unpack(ids))
end

-- Whether a line holds the entry of a ready job; adds the entry with `repairs`.
function lines.check(job, repairs)
  local digest = digest_of(jobs.has_flag(job, 'n') and redis.call('HGET', job.key, 'tenant'))
  local key = line_key(job.spec.place, digest)
  local turns = redis.call('ZSCORE', turns_key(job.spec.place), digest)
  if turns and redis.call('ZSCORE', key, job.entry) then return true end
  if repairs then
    redis.call('ZADD', key, jobs.suspect_score(job.entry), job.entry)
    if not turns then redis.call('ZADD', turns_key(job.spec.place), virtual_time(job.spec.place), digest) end
  end
  return false
end
