-- Keeps the pool's time from going back where Redis's clock does: somebody sets it, or a replica whose clock is behind
-- takes over. Leases, delays and ttls are moments of that time: each would last longer by as much as it went back.
--
-- The pool's time is ahead of the clock from then on, and runs slower until they agree. It gives back little at a time:
-- scripts that do not keep the time may have gone by the old one.

local STEP_MS = 1000 -- going back by less changes nothing that matters
local SLOWDOWN_MAX_MS = 1000 -- at once
local SLOWDOWN = 0.25 -- of the time that passes is given back: a lease lasts a third longer meanwhile

-- Before anything is written that is meant to last from now on.
local function keep_time()
  local known = redis.call('HGET', BOOKS, 'clock_seen_ms')
  local seen = number_or(known, now)
  local by = 0
  if now < seen - STEP_MS then
    by = seen - now
  elseif ahead > 0 and now > seen then
    by = -math.min(ahead, SLOWDOWN_MAX_MS, math.floor((now - seen) * SLOWDOWN))
  end
  if by ~= 0 then
    redis.call('HINCRBY', BOOKS, 'clock_ahead_ms', string.format('%.0f', by))
    ahead = ahead + by
    now = now + by
    now_text = string.format('%.0f', now)
  end
  if now > seen or not known then redis.call('HSET', BOOKS, 'clock_seen_ms', now_text) end
end
