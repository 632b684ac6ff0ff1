-- deregister: ends a worker's lease; the jobs that the worker still holds become ready again at once.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 reason:
--        `all`     every held job was started
--        `these`   only the jobs whose ids and tokens follow were started; the rest is requeued
--        `crashed` the process ended under its jobs; 3 how (text), then the ids of the culprits: the rest is requeued;
--                  no ids: each held job is a possible culprit
--        `gone`    as crashed, but the cause is unknown, or no job can be the cause
-- Returns {'ok', jobs recovered}; {'more', n}: call again, a script recovers a bounded part.
-- Events recovered, quarantined, returned; failed or cancelled where attempts are used up or cancel was requested.

--- include: pool
--- include: agreement
--- include: announce
--- include: workers

write_though_memory_is_full()
local worker = ARGV[1]
if ARGV[2] == 'these' then agreement.reach(worker, 3) end
local error, crash = 'the worker left without ending the job', nil
if ARGV[2] == 'crashed' or ARGV[2] == 'gone' then
  error, crash = ARGV[3], { explained = ARGV[2] == 'crashed' }
  if #ARGV > 3 then crash.culprits = {} end
  for i = 4, #ARGV do crash.culprits[ARGV[i]] = true end
end
local taken = workers.recover_jobs_of(worker, error, crash)
announce.conclude()
if number_or(redis.call('HGET', COUNTERS, 'queued'), 0) > 0 then ring() end -- the worker may have consumed a bell
return { taken < workers.RECOVER_MAX and 'ok' or 'more', taken }
