-- Keeps the pool's time from going back where Redis's clock does: somebody sets it, or a replica whose clock is behind
-- takes over. Leases, delays and ttls are moments of that time: each would last longer by as much as it went back.
--
-- The pool's time is ahead of the clock from then on. It gives that back when the clock leaps forward, for then it only
-- stands still.

local STEP_MS = 1000 -- going back by less changes nothing that matters
local LEAP_MS = 60000 -- the clock was set forward, or no worker has been there for so long

-- Before anything is written that is meant to last from now on.
local function keep_time()
  local v = redis.call('HMGET', BOOKS, 'clock_seen_ms', 'clock_ahead_ms')
  local seen, ahead = number_or(v[1], now), number_or(v[2], 0)
  local by = 0
  if now < seen - STEP_MS then
    by = seen - now
  elseif now > seen + LEAP_MS then
    by = -math.min(ahead, now - seen)
  end
  if by ~= 0 then
    redis.call('HINCRBY', BOOKS, 'clock_ahead_ms', string.format('%.0f', by))
    now = now + by
    now_text = string.format('%.0f', now)
  end
  if now > seen or not v[1] then redis.call('HSET', BOOKS, 'clock_seen_ms', now_text) end
end
