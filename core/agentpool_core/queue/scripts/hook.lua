-- hook: adds a webhook to a job, replaces it, removes it, or sends its messages again.
--
-- A job that has ended or waits already gets its message at once, if the webhook asks for that change.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 verb: put, delete, redeliver (the messages that were given up); 2 job id, 3 name; put: 4 changes, separated by commas, 5 definition (JSON), 6 most webhooks
-- Returns {'ok'}, of redeliver {'ok', messages} | {'unknown'}: no such job | {'absent'}: no such webhook | {'too_many'}
-- Events none.

--- include: pool

local verb, id, name = ARGV[1], ARGV[2], ARGV[3]
local key = PREFIX .. 'job:' .. id
local v = redis.pcall('HMGET', key, 'state', 'hooks', 'ended')
if v.err or not v[1] then return { 'unknown' } end

-- Returns the webhooks of the job except `name`, the number of these, and whether the job has `name`.
local function others()
  local kept, known = {}, false
  for each, changes in string.gmatch(v[2] or '', '(%S+)=(%S+)') do
    if each == name then known = true else kept[#kept + 1] = each .. '=' .. changes end
  end
  return kept, known
end

local kept, known = others()
if verb == 'delete' then
  if not known then return { 'absent' } end
  redis.call('HSET', key, 'hooks', table.concat(kept, ' '))
  redis.call('HDEL', key, 'hook:' .. name)
  return { 'ok' }
end
if verb == 'redeliver' then
  if not known then return { 'absent' } end
  local again = 0
  for _, change in ipairs({ 'succeeded', 'failed', 'cancelled', 'expired', 'waiting' }) do
    local field = 'sent:' .. name .. '=' .. change
    local at, rest = string.match(redis.call('HGET', key, field) or '', '^failed (%d+) %d+ (.*)$')
    if at then -- the tries begin again
      again = again + 1
      redis.call('HSET', key, field, 'retrying ' .. at .. ' 0 ' .. rest)
      redis.call('ZADD', PREFIX .. 'outbox', now, id .. ' ' .. name .. ' ' .. change .. ' ' .. at)
    end
  end
  return { 'ok', again }
end
if not known and #kept >= tonumber(ARGV[6]) then return { 'too_many' } end
kept[#kept + 1] = name .. '=' .. ARGV[4]
redis.call('HSET', key, 'hooks', table.concat(kept, ' '), 'hook:' .. name, ARGV[5], 'mark', '1')
local at = v[3] or v[1] == 'waiting' and now_text
if not known and at and string.find(',' .. ARGV[4] .. ',', ',' .. v[1] .. ',', 1, true) then
  redis.call('ZADD', PREFIX .. 'outbox', now, id .. ' ' .. name .. ' ' .. v[1] .. ' ' .. at)
end
return { 'ok' }
