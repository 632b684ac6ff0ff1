-- lag: tells the groups' lag again where the server does not know it, so that others read a true backlog. Redis 7.0 forgets
-- in a restart from its append-only file how many entries a group has read, and the lag is unknown from then on, or what
-- it once was; the books know what was never delivered. It looks at every stream, so it is asked after a restart only.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   none
-- Returns {in how many streams it had to be told}
-- Events none.

--- include: pool

write_though_memory_is_full()

local books = pairs_of(redis.call('HGETALL', BOOKS))
local mended = 0
for field in pairs(books) do
  local place = string.match(field, '^c(:.+)$')
  local stream = place and PREFIX .. 's' .. place
  local group = place and pairs_of(redis.call('XINFO', 'GROUPS', stream)[1])
  local undelivered = place and number_or(books['q' .. place], 0) + number_or(books['t' .. place], 0)
  local known = group and group.lag ~= nil -- not by Redis 6.2; what is unknown is false
  if known and (group.lag ~= undelivered or group['entries-read'] == false) then
    local read = pairs_of(redis.call('XINFO', 'STREAM', stream))['entries-added'] - undelivered
    redis.call('XGROUP', 'SETID', stream, GROUP, group['last-delivered-id'], 'ENTRIESREAD', read)
    mended = mended + 1
  end
end
return { mended }
