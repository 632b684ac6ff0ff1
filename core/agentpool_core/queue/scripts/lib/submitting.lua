-- Stores new jobs, for submit and fire: all jobs of a call, or none.

--- include: announce
--- include: children
--- include: clock
--- include: conflicts
--- include: downstream
--- include: groups
--- include: jobs

local JOB_ARGS = 4
local RETRY_AFTER_MIN_MS = 100
local RETRY_AFTER_MAX_MS = 60000
local RETRY_AFTER_UNKNOWN_MS = 1000

local conf = redis.call('HMGET', CONF, 'revision', 'max_depth', 'ttl_critical_ms', 'ttl_task_ms', 'ttl_info_ms',
  'retired', 'refuse_unlisted_kinds')
local listed_only = conf[7] == '1'
local ttl_of = { critical = conf[3], task = conf[4], info = conf[5] }

local route_of_kind = {}
local function route_of(kind)
  local route = route_of_kind[kind]
  if not route then
    route = redis.call('HGET', CONF, 'route:' .. kind) or (listed_only and '' or 'default')
    route_of_kind[kind] = route
  end
  return route
end

local schema_of_kind = {}
local function schema_of(kind)
  if schema_of_kind[kind] == nil then schema_of_kind[kind] = redis.call('HGET', CONF, 'schema:' .. kind) end
  return schema_of_kind[kind]
end

local function accepted_kinds()
  local names = {}
  for _, field in ipairs(redis.call('HKEYS', CONF)) do names[#names + 1] = string.match(field, '^route:(.+)$') end
  table.sort(names)
  return names
end

-- Returns id and digest of an earlier job with the same key or id; nil: none. A generated id exists only if its submitter
-- lost the reply and repeats the call.
local function earlier_job(id, extras)
  if extras and extras.key then
    local kept = redis.call('GET', PREFIX .. 'key:' .. extras.key)
    local known, digest = string.match(kept or '', '^(%S+) (%S+)$')
    if known and redis.call('EXISTS', PREFIX .. 'job:' .. known) == 1 then return known, digest end
  end
  if redis.call('EXISTS', PREFIX .. 'job:' .. id) == 1 then
    return id, extras and extras.named and (redis.pcall('HGET', PREFIX .. 'job:' .. id, 'digest') or '') or nil
  end
  return nil
end

local function retry_after_ms()
  local v = redis.call('HMGET', COUNTERS, 'run_ms', 'attempts', 'running')
  local attempts = number_or(v[2], 0)
  if attempts == 0 then return RETRY_AFTER_UNKNOWN_MS end
  local mean = number_or(v[1], 0) / attempts / math.max(1, number_or(v[3], 0))
  return math.floor(math.max(RETRY_AFTER_MIN_MS, math.min(RETRY_AFTER_MAX_MS, mean)))
end

-- Reads and checks the jobs ARGV[first..]. Returns them, and how many are new; or nil and the refusal.
local function check_jobs(first)
  if not conf[1] then return nil, { 'unknown_pool' } end
  local requests = {}
  local here = {} -- ids of this call
  local digests = {} -- by key, then by name, of this call
  local fresh = 0
  for i = first, #ARGV, JOB_ARGS do
    local index = (i - first) / JOB_ARGS
    local job = { id = ARGV[i], text = ARGV[i + 1], payload = ARGV[i + 2] }
    local extras = ARGV[i + 3] ~= '' and cjson.decode(ARGV[i + 3]) or nil
    local known, digest = earlier_job(job.id, extras)
    job.extras = extras
    job.known = known
    if extras then
      local same = extras.key and 'key ' .. extras.key or extras.named and 'name ' .. job.id
      if same and digests[same] and (not known or extras.conflict) then known, digest = unpack(digests[same]) end
      if extras.conflict and known and known ~= job.id then known, digest = conflicts.resolve(job, known, here[known]) end
      if known and digest and digest ~= extras.digest then return nil, { 'conflict', index, known } end
      if same and not known then digests[same] = { job.id, extras.digest } end
      job.known = known
      if not known then
        for n, parent in ipairs(extras.after or {}) do
          if not here[parent] and not jobs.load(parent) then
            return nil, { 'unknown_parent', index, n - 1 }
          end
        end
      end
    end
    if not job.known then
      local kind = string.match(job.text, '^[^|]*')
      if listed_only and route_of(kind) == '' then return nil, { 'unknown_kind', index, accepted_kinds() } end
      local schema = schema_of(kind)
      if schema and (not extras or extras.schema ~= schema and extras.schema ~= '*') then
        return nil, { 'unchecked', index }
      end
      fresh = fresh + 1
      here[job.id] = true
    end
    requests[#requests + 1] = job
  end

  if fresh > 0 and conf[6] == '1' then return nil, { 'retired' } end
  local v = redis.call('HMGET', COUNTERS, 'queued', 'held')
  local depth = number_or(v[1], 0) + number_or(v[2], 0) + redis.call('ZCARD', DUE)
    + redis.call('SCARD', BLOCKED)
  local limit = setting_or(conf[2], 100000)
  if fresh > 0 and depth + fresh > limit then return nil, { 'full', depth, limit, retry_after_ms() } end
  return requests, fresh, depth
end

-- Writes a child's fields. Returns how many parents have not ended, and for a parent that did not succeed the reason to
-- cancel the child, or nil.
local function attach(job, parents)
  local fields = { 'after', table.concat(parents, ' ') }
  local waits, failed = 0, nil
  local seen = {}
  for _, parent in ipairs(parents) do
    if not seen[parent] then
      seen[parent] = true
      local key = PREFIX .. 'job:' .. parent
      local v = redis.pcall('HMGET', key, 'state', 'result', 'error', 'reason')
      if v[1] == 'succeeded' and v[2] then
        fields[#fields + 1] = 'in:' .. parent
        fields[#fields + 1] = v[2]
      elseif jobs.ENDS[v[1]] then
        if jobs.has_flag(job, 'u') then -- any other job is cancelled, and may wait for the parent again
          fields[#fields + 1] = 'end:' .. parent
          fields[#fields + 1] = v[1]
        end
        failed = failed or children.reason(parent, v[1], children.text_of_end(v))
      else
        waits = waits + 1
        redis.call('SADD', PREFIX .. 'kids:' .. parent, job.id)
        redis.call('HSET', key, 'kids', '1', 'mark', '1')
      end
    end
  end
  fields[#fields + 1] = 'waits'
  fields[#fields + 1] = waits
  redis.call('HSET', job.key, unpack(fields))
  return waits, failed
end

-- Returns the job that starts a new job: {key, state, started, tenant, tags, cancel}, read once.
local starters = {}
local function starter_of(child)
  local id = child.by
  if not starters[id] then
    local key = PREFIX .. 'job:' .. id
    local v = redis.pcall('HMGET', key, 'state', 'started', 'tenant', 'tags', 'cancel')
    starters[id] = { key = key, state = v[1] or nil, started = v[2], tenant = v[3] or nil, tags = v[4] or nil, cancel = v[5] or nil }
  end
  return starters[id]
end

local function enter_group(key, child)
  redis.call('HSET', key, 'group', child.by .. ' ' .. child.group .. ' ' .. child.number)
  if not groups.read(child.by, child.group) then
    groups.write(child.by, child.group, { left = child.size, run = 1, fast = child.fast, most = child.most or 0 })
  end
end

-- Enters an earlier job of a child's id and body into the group of its running starter, which would wait for ever otherwise:
-- the record of the starter was deleted, and its id submitted again, or the child was submitted by hand.
local function readopt(job, child)
  if job.broken or not child.group or not jobs.STATES[starter_of(child).state or ''] then return end
  enter_group(job.key, child)
  redis.call('SADD', PREFIX .. 'started:' .. child.by, job.id)
  redis.call('HSET', starter_of(child).key, 'started', starter_of(child).started or '1', 'mark', '1')
  if jobs.ENDS[job.state] then
    local v = redis.call('HMGET', job.key, 'result', 'error', 'reason')
    local text = job.state == 'succeeded' and v[1] or job.state == 'failed' and v[2] or v[3]
    collected.group_ends[#collected.group_ends + 1] = { job.key, job.state, text or 'null' }
  elseif not jobs.has_flag(job, 'g') then
    local spec = redis.call('HGET', job.key, 'spec')
    spec = spec .. 'g'
    redis.call('HSET', job.key, 'spec', spec, 'started_by', child.by)
  end
end

-- Enters a new job among the jobs that its starter has started, and into its group. The job inherits tenant and tags of
-- its starter, as `child` says. Returns the reason to cancel the job at once, or nil.
local function adopt(job, extras)
  local child = extras.child
  local starter = starter_of(child)
  if child.tenant then extras.tenant = starter.tenant end
  if child.tags then extras.tags = starter.tags end
  redis.call('HSET', job.key, 'started_by', child.by)
  if starter.started == 'tree' then return children.reason(child.by, 'cancelled', starter.cancel) end
  if not jobs.STATES[starter.state or ''] then return child.group and children.reason(child.by, starter.state, '') end
  if not starter.started then redis.call('HSET', starter.key, 'started', '1', 'mark', '1') end
  starter.started = '1'
  redis.call('SADD', PREFIX .. 'started:' .. child.by, job.id)
  if not child.group then return nil end
  enter_group(job.key, child)
end

local function write_extras(job, extras, ttl)
  local fields = {}
  local function field(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if extras.trace then field('trace', extras.trace) end
  if extras.tags then field('tags', extras.tags) end
  if extras.named then field('digest', extras.digest) end
  if extras.delay then field('due', now + extras.delay) end
  if extras.limit_key then field('limit_key', extras.limit_key) end
  if extras.tenant then field('tenant', extras.tenant) end
  if extras.tokens then field('tokens', extras.tokens) end
  if ttl then field('expires', now + ttl) end
  if extras.key then
    job.idem = extras.key .. ' ' .. extras.idem
    field('idem', job.idem)
    field('mark', '1')
    redis.call('SET', jobs.idempotency_key(job), job.id .. ' ' .. extras.digest)
  end
  if #fields > 0 then redis.call('HSET', job.key, unpack(fields)) end
end

local NO_EXTRAS = {}

-- Stores a new job and returns its state.
local function store(request)
  local kind, priority, max, timeout, flags = string.match(request.text, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
  local extras = request.extras or NO_EXTRAS
  local ttl = extras.ttl or setting_or(ttl_of[priority], nil)
  local parents = extras.after
  local id, key = request.id, PREFIX .. 'job:' .. request.id
  local failed = extras.child and adopt({ id = id, key = key }, extras)
  if ttl then flags = flags .. 't' end
  if parents then flags = flags .. 'a' end
  if extras.trace then flags = flags .. 'x' end
  if extras.limit_key or extras.tenant or extras.tokens then flags = flags .. 'k' end
  if extras.tenant then flags = flags .. 'n' end
  if extras.child and extras.child.group then flags = flags .. 'g' end
  if extras.child and extras.child.most then flags = flags .. 'm' end
  local spec = kind .. '|' .. route_of(kind) .. '|' .. priority .. '|' .. max .. '|' .. timeout .. '|' .. flags
  local job = { id = id, key = key, spec = jobs.read_spec(spec), attempt = 0, worker = '' }
  job.tenant = extras.tenant
  local state, entry = 'queued', nil
  local waits, orphaned = 0, failed
  if request.extras or ttl then write_extras(job, extras, ttl) end
  if parents then waits, failed = attach(job, parents) end
  local unneeded = parents and not failed and waits == 0 and jobs.has_flag(job, 'f')
  failed = orphaned or failed or unneeded and children.unneeded
  if failed and (orphaned or unneeded or not jobs.has_flag(job, 'u')) then
    redis.call('HSET', job.key, 'spec', spec, 'payload', request.payload)
    for _, parent in ipairs(parents or {}) do redis.call('SREM', PREFIX .. 'kids:' .. parent, job.id) end
    jobs.finish(job, 'cancelled', 'reason', failed, failed)
    if parents then downstream.note(job.id, failed) end
    return 'cancelled'
  end
  if waits > 0 then
    state = 'blocked'
    redis.call('SADD', BLOCKED, job.id)
  elseif extras.delay then
    state = 'scheduled'
    redis.call('ZADD', DUE, now + extras.delay, job.id)
  else
    entry = jobs.append_entry(job)
  end
  if ttl then redis.call('ZADD', TTL, now + ttl, job.id) end
  if entry then
    redis.call('HSET', job.key, 'state', state, 'spec', spec, 'payload', request.payload, 'entry', entry)
  else
    redis.call('HSET', job.key, 'state', state, 'spec', spec, 'payload', request.payload)
    jobs.note_change(job, state)
  end
  jobs.append_event(state, job)
  return state
end

-- Stores the jobs ARGV[first..]; all checks precede all writes: a refused call changes nothing. Returns submit's reply.
function submitting.submit(first)
  local requests, fresh, depth = check_jobs(first)
  if not requests then return fresh end
  clock.keep_time()
  local reply = { 'ok', depth }
  for i, job in ipairs(requests) do
    if job.known then
      local kept = jobs.load(job.known)
      if kept and job.extras and job.extras.child then readopt(kept, job.extras.child) end
      reply[i + 2] = '=' .. job.known .. ' ' .. (kept and not kept.broken and kept.state or 'failed')
    else
      if job.replaces then conflicts.replace(job) end
      reply[i + 2] = store(job)
    end
  end
  bump('submitted', fresh)
  announce.conclude()
  return reply
end
