-- reconcile: hands back what a worker holds in the books and does not know of, because an answer to it was lost.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, then the ids of the jobs that it does hold
-- Returns {how many were handed back}
-- Events returned; cancelled where cancel was asked for. The attempts do not count.

--- include: pool
--- include: job
--- include: announce
--- include: settle
--- include: workers
--- include: unknown

write_though_memory_is_full()
return { hand_back_unknown(ARGV[1], 2) }
