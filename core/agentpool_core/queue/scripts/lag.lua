-- lag: restores the consumer groups' lag where the server reports none or a wrong value, because other tools read the
-- backlog from it. Redis 7.0 forgets how many entries a group has read when it restarts from its append-only file. The
-- counters hold the number of undelivered entries. The script reads every stream: callers run it only after a restart.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   none
-- Returns {streams corrected}
-- Events none.

--- include: pool

write_though_memory_is_full()

local counters = pairs_of(redis.call('HGETALL', COUNTERS))
local corrected = 0
for field in pairs(counters) do
  local place = string.match(field, '^c(:.+)$')
  local stream = place and PREFIX .. 's' .. place
  local group = place and pairs_of(redis.call('XINFO', 'GROUPS', stream)[1])
  local undelivered = place and number_or(counters['q' .. place], 0) + number_or(counters['t' .. place], 0)
  local known = group and group.lag ~= nil -- Redis 6.2 reports no lag; an unknown lag is false
  if known and (group.lag ~= undelivered or group['entries-read'] == false) then
    local read = pairs_of(redis.call('XINFO', 'STREAM', stream))['entries-added'] - undelivered
    redis.call('XGROUP', 'SETID', stream, GROUP, group['last-delivered-id'], 'ENTRIESREAD', read)
    corrected = corrected + 1
  end
end
return { corrected }
