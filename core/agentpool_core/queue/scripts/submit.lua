-- submit: stores all jobs of the call, or none.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   four for each job: id, spec kind|priority|maxAttempts|timeoutMs|flags, payload (JSON),
--        extras ('' or JSON: delay ms, ttl ms, after [ids], trace, tags, key (digest of the idempotency key), idem (its
--        text), conflict (keep, replace, cancel_running: lib/conflicts.lua), digest, named, limit_key, tenant,
--        schema (digest of the schema that the payload fits; '*': of a schedule, whose payload was checked when it was
--        stored),
--        child {by: id of the job that starts it, tenant, tags: inherited, group, number, size, fast, most: lib/groups.lua})
-- Returns {'ok', depth before, state of each job, or '=id state' of an earlier job with the same key or id}
--        | {'unknown_pool'} | {'retired'} | {'full', depth, limit, retry after ms} | {'conflict', index, job id}
--        | {'unknown_parent', index, parent index} | {'unknown_kind', index, accepted kinds}
--        | {'unchecked', index}: the kind has a different schema (indexes from 0)
-- Events queued, scheduled, blocked; cancelled for a child whose parent has already failed; cancelled, cancelling for a
--        replaced job.

--- include: pool
--- include: submitting

return submitting.submit(1)
