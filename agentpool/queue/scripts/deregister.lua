-- deregister: a worker gives up its lease; what it still holds becomes ready again at once, as after a loss.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 `all`: every held job was begun; `these`: only the jobs whose ids follow were, the others are
--        handed back and cost no attempt
-- Returns {'ok', jobs taken back}; {'more', n}: call again, there was more than fits in one script.
-- Events recovered, returned; failed or cancelled where attempts are used up or cancel was asked for.

--- include: pool
--- include: job
--- include: announce
--- include: settle
--- include: workers
--- include: unknown

write_though_memory_is_full()
local worker = ARGV[1]
if ARGV[2] == 'these' then hand_back_unknown(worker, 3) end
local taken = take_all_back(worker, 'the worker left without ending the job')
conclude()
if number_or(redis.call('HGET', BOOKS, 'queued'), 0) > 0 then ring() end -- it may have taken a bell along
return { taken < RECOVER_MAX and 'ok' or 'more', taken }
