-- exchange: settles and claims in one round trip, for a worker that replaces ended jobs by new jobs.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 limit (free slots after the settle), 3 seed (as in settle), then five for each completion
-- Returns {outcomes, reply of claim}
-- Events those of settle and claim.

--- include: pool
--- include: job
--- include: stray
--- include: limits
--- include: lines
--- include: children
--- include: waits
--- include: groups
--- include: announce
--- include: kinds
--- include: settle
--- include: sweep
--- include: quarantine
--- include: claim

write_though_memory_is_full()
math.randomseed(tonumber(ARGV[3]))
local outcomes = settle(ARGV[1], 4)
return { outcomes, claim(ARGV[1], tonumber(ARGV[2])) }
