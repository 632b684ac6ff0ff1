-- exchange: settles and claims in one round trip, for a worker that replaces ended jobs by new jobs.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 room after the settle, as in claim, 3 seed (as in settle), then five for each completion
-- Returns {outcomes, reply of claim}
-- Events those of settle and claim.

--- include: pool
--- include: claim
--- include: settle

write_though_memory_is_full()
math.randomseed(tonumber(ARGV[3]))
local outcomes = settle.all(ARGV[1], 4)
return { outcomes, claim.run(ARGV[1], ARGV[2]) }
