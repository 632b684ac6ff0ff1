-- submit_replacing: stores all jobs of the call, or none, as submit.lua does, if some may replace earlier jobs of their keys.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   four for each job: id, spec kind|priority|maxAttempts|timeoutMs|flags, payload (JSON),
--        extras ('' or JSON: delay ms, ttl ms, after [ids], trace, tags, key (digest of the idempotency key), idem (its
--        text), conflict (keep, replace, cancel_running: lib/conflicts.lua), digest, named, limit_key, tenant)
-- Returns {'ok', depth before, state of each job, or '=id state' of an earlier job with the same key or id}
--        | {'unknown_pool'} | {'retired'} | {'full', depth, limit, retry after ms} | {'conflict', index, job id}
--        | {'unknown_parent', index, parent index} | {'unknown_kind', index, accepted kinds} (indexes from 0)
-- Events queued, scheduled, blocked; cancelled for a child whose parent has already failed; cancelled, cancelling for a
--        replaced job.

--- include: pool
--- include: submitting

return submitting.submit(1)
