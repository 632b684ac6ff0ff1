-- Keeps the pool's time monotonic when Redis's clock is set back, by a person or by a failover to a replica whose clock is
-- behind. Leases, delays and ttls end at a moment of the pool's time; each would last longer by the step.
--
-- After a step the pool's time is ahead of the clock, and runs slower until both agree. Each correction is small, because
-- scripts without `keep_time` may still use the previous difference.

-- Updates the pool's time. A script calls it before it writes a moment of the future.
function clock.keep_time()
  local STEP_MS = 1000 -- smaller steps are harmless
  local SLOWDOWN_MAX_MS = 1000 -- in one correction
  local SLOWDOWN = 0.25 -- share of the elapsed time that a correction removes: a lease lasts a third longer meanwhile
  local known = redis.call('HGET', COUNTERS, 'clock_seen_ms')
  local seen = number_or(known, now)
  local by = 0
  if now < seen - STEP_MS then
    by = seen - now
  elseif ahead > 0 and now > seen then
    by = -math.min(ahead, SLOWDOWN_MAX_MS, math.floor((now - seen) * SLOWDOWN))
  end
  if by ~= 0 then
    redis.call('HINCRBY', COUNTERS, 'clock_ahead_ms', string.format('%.0f', by))
    ahead = ahead + by
    now = now + by
    now_text = string.format('%.0f', now)
  end
  if now > seen or not known then redis.call('HSET', COUNTERS, 'clock_seen_ms', now_text) end
end
