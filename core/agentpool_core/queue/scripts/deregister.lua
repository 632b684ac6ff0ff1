-- deregister: a worker gives up its lease; what it still holds becomes ready again at once.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 `all`: every held job was begun; `these`: only the jobs whose ids and tokens follow were, the
--        others are handed back and cost no attempt; `crashed`: its process ended under its jobs, 3 how in words, then
--        the ids of the jobs that are known to be the cause (the others are handed back) or none: each of them may be;
--        `gone`: the same, where nobody knows how, or no job could have done it
-- Returns {'ok', jobs taken back}; {'more', n}: call again, there was more than fits in one script.
-- Events recovered, quarantined, returned; failed or cancelled where attempts are used up or cancel was asked for.

--- include: pool
--- include: job
--- include: stray
--- include: children
--- include: announce
--- include: kinds
--- include: settle
--- include: workers
--- include: agree

write_though_memory_is_full()
local worker = ARGV[1]
if ARGV[2] == 'these' then agree(worker, 3) end
local error, crash = 'the worker left without ending the job', nil
if ARGV[2] == 'crashed' or ARGV[2] == 'gone' then
  error, crash = ARGV[3], { explained = ARGV[2] == 'crashed' }
  if #ARGV > 3 then crash.culprits = {} end
  for i = 4, #ARGV do crash.culprits[ARGV[i]] = true end
end
local taken = take_all_back(worker, error, crash)
conclude()
if number_or(redis.call('HGET', BOOKS, 'queued'), 0) > 0 then ring() end -- it may have taken a bell along
return { taken < RECOVER_MAX and 'ok' or 'more', taken }
