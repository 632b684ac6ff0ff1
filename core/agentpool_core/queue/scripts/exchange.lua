-- exchange: settle and claim in one round trip, for a worker that swaps ended jobs for new ones.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 limit (slots free once these are settled), 3 seed, then five for each completion
-- Returns {outcomes, claim's reply}
-- Events those of settle and of claim.

--- include: pool
--- include: job
--- include: stray
--- include: children
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
