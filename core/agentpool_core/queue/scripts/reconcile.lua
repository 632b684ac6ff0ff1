-- reconcile: resolves each difference between the jobs that a worker holds and those that the queue leases to it: an answer
-- was lost, or Redis went back in time.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, then job id and token of each job that it holds
-- Returns {jobs handed back that the worker does not hold, entries dropped whose job is gone, counters corrected,
--        id, token, ...: jobs that the worker must stop, since the queue does not lease them to it}
-- Events returned; cancelled where cancel was asked for. The attempts do not count.

--- include: pool
--- include: job
--- include: stray
--- include: children
--- include: announce
--- include: kinds
--- include: settle
--- include: workers
--- include: agree
--- include: recount

write_though_memory_is_full()
restore_streams()
local returned, dropped, disowned = agree(ARGV[1], 2)
local differs = returned + dropped + #disowned > 0
local reply = { returned, dropped, differs and correct_books() or 0 }
for i = 1, #disowned do reply[i + 3] = disowned[i] end
return reply
