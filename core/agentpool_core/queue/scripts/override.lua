-- override: sets the numbers of a limit for one key or tenant, or resets them to the limit's own.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 limit, 2 key or tenant, 3 'max_running' | 'rate' | 'tokens' | 'budget' ('': reset), 4 jobs at once, or count, period ms
--        and burst, for tokens after the word, or 'budget' and billionths, separated by blanks; '': reset
-- Returns {'ok', 1: changed | 0} | {'unknown_limit', 'name by measure' of each limit that is divided}
-- Events none: a limit with more room makes jobs ready, which are queued already.

--- include: pool
--- include: announce
--- include: limits

local name, subject, measure, numbers = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- Returns the measure of a limit, as callers name it.
local function measure_named(limit)
  return limit.amount and 'budget' or limit.tokens and 'tokens' or limit.count and 'rate' or 'max_running'
end

limits.read()
local divided = {}
for _, limit in ipairs(limits.all or {}) do
  if limit.by then divided[#divided + 1] = limit.name .. ' ' .. limit.by .. ' ' .. measure_named(limit) end
end
local limit = limits.named[name]
local fits = limit and limit.by and (numbers == '' or measure == measure_named(limit))
if not fits then return { 'unknown_limit', unpack(divided) } end

local bucket = name .. ':' .. redis.sha1hex(subject)
local changed
if numbers == '' then
  changed = redis.call('HDEL', LIMIT_OVERRIDES, bucket)
else
  redis.call('HSET', LIMIT_OVERRIDES, bucket, numbers .. '\n' .. subject)
  changed = 1
end
collected.freed[bucket] = true
announce.conclude()
return { 'ok', changed }
