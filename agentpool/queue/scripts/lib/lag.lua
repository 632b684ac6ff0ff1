-- Keeps the groups' lag known to others. Redis 7.0 forgets in a restart from its append-only file how many entries a
-- group has read, and cannot tell the lag from then on; the books still know what was never delivered.

local function told(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local function remember_what_was_read()
  local flat = redis.call('HGETALL', BOOKS)
  local books = told(flat)
  for i = 1, #flat, 2 do
    local place = string.match(flat[i], '^c(:.+)$')
    local stream = place and PREFIX .. 's' .. place
    local group = place and told(redis.call('XINFO', 'GROUPS', stream)[1])
    if group and group['entries-read'] == false then -- nil: Redis 6.2, which knows neither this nor a lag
      local undelivered = number_or(books['q' .. place], 0) + number_or(books['t' .. place], 0)
      local read = told(redis.call('XINFO', 'STREAM', stream))['entries-added'] - undelivered
      redis.call('XGROUP', 'SETID', stream, GROUP, group['last-delivered-id'], 'ENTRIESREAD', read)
    end
  end
end
