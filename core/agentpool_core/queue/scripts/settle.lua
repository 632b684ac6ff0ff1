-- settle: ends attempts; a completion whose token is stale, or is another worker's, is refused and reported.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 seed (for the backoff's jitter), 2 worker, then five for each completion: see lib/settle.lua
-- Returns an outcome for each: applied, retrying, dead, returned, cancelled, stale
-- Events succeeded, retrying, failed, returned, preempted, recovered, quarantined, cancelled; for children queued, scheduled, cancelled.

--- include: pool
--- include: job
--- include: children
--- include: announce
--- include: kinds
--- include: settle

write_though_memory_is_full()
math.randomseed(tonumber(ARGV[1]))
return settle(ARGV[2], 3)
