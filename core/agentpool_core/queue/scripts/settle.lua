-- settle: ends attempts. A completion with a stale token or from a different worker is refused and reported.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 seed (for the backoff's jitter), 2 worker, then five for each completion (lib/settle.lua)
-- Returns an outcome for each: applied, retrying, dead, returned, cancelled, stale
-- Events succeeded, retrying, failed, returned, preempted, recovered, quarantined, cancelled; those of children: queued,
--        scheduled, cancelled.

--- include: pool
--- include: settle

write_though_memory_is_full()
math.randomseed(tonumber(ARGV[1]))
return settle.all(ARGV[2], 3)
