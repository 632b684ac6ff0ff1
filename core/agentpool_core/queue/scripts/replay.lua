-- replay: puts a dead letter back into the queue as a new job would be, with all its attempts; `downstream`: with all jobs that
-- were cancelled because of it, which wait for their parents again (lib/downstream.lua).
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 '' | 'downstream' (also of a job that was replayed before) | 'more': only continue
-- Returns {'ok', jobs downstream, 1: call again with 'more' | 0} | {'unknown'} | {'not_dead', state} | {'retired'}
-- Events queued, blocked, scheduled (detail: replayed).

--- include: pool
--- include: announce
--- include: downstream
--- include: jobs
--- include: replaying

local id, how = ARGV[1], ARGV[2]

local function replay()
  local job = jobs.load(id)
  if not job then return { 'unknown' } end
  if jobs.is_undecodable(job) then
    jobs.fail_undecodable(job)
    job.state = 'failed'
  end
  local was_replayed = how == 'downstream' and (jobs.STATES[job.state] or job.state == 'succeeded')
  if job.state ~= 'failed' and not was_replayed then return { 'not_dead', job.state } end
  if redis.call('HGET', CONF, 'retired') == '1' then return { 'retired' } end
  if job.state == 'failed' then replaying.replay(job) end
  return { 'ok', how == 'downstream' and downstream.begin(id) or 0, 0 }
end

local reply = how == 'more' and { 'ok', 0, 0 } or replay()
if reply[1] == 'ok' then
  if how ~= '' and downstream.continue() then reply[3] = 1 end
  announce.conclude()
end
return reply
