-- claim: leases ready jobs to a worker, the most urgent first, within its free slots and the routes' limits.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, 2 room: free slots, or 'FREE ALL FREE_MIB ALL_MIB' of slots and GPU memory (lib/claim.lua)
-- Returns {'ok', revision, clock ms, max attempts, timeout ms, six values for each lease}
--        | {'paused' | 'cordoned' | 'unregistered', revision, clock ms}; cordoned: also a worker reserved for a suspect
--        a lease: id, 'token attempt claimedMs worker', entry, spec, payload, '' or [checkpoint or '', trace or '',
--        '' or [parent, result, ...]]
-- Events started; expired for a job whose ttl has ended.

--- include: pool
--- include: claim

write_though_memory_is_full()
return claim.run(ARGV[1], ARGV[2])
