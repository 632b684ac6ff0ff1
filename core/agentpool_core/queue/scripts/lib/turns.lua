-- The order in which the lines of a place start jobs, by start tag: start-time fair queueing (lib/lines.lua).
--
-- Needs no other part, because a short script uses these functions, too.

-- Returns the keys of a place.
function turns.at(prefix, place)
  return {
    conf = prefix .. 'conf', order = prefix .. 'turns' .. place, line = prefix .. 'line' .. place .. ':', tags = prefix .. 'tags' .. place,
  }
end

-- Returns what a start adds to the tag of each line: 1 / weight.
local function steps_of(conf, digests)
  local steps, fields = {}, {}
  for i = 1, #digests do steps[i] = 1 end
  local tenants = redis.call('HGET', conf, 'tenants')
  if not digests[1] or not tenants or tenants == '[]' then return steps end
  for i, digest in ipairs(digests) do fields[i] = 'weight:' .. digest end
  for i, text in ipairs(redis.call('HMGET', conf, unpack(fields))) do
    local weight = tonumber(text or nil)
    if weight and weight > 0 and weight < math.huge then steps[i] = 1 / weight end
  end
  return steps
end

-- Counts the turns of lines, ordered by tag, among the next `count` starts: each start takes the line with the smallest tag.
local function count_starts(starts, next_tags, steps, count)
  local seen, best = 0, nil -- lines that have had a turn, and the one among them with the smallest tag
  for _ = 1, count do
    local turn = seen + 1
    if not next_tags[turn] or (best and next_tags[best] < next_tags[turn]) then turn = best else seen = turn end
    starts[turn] = starts[turn] + 1
    next_tags[turn] = next_tags[turn] + steps[turn]
    best = best or turn
    if next_tags[turn] < next_tags[best] then best = turn end
    for i = 1, turn == best and seen or 0 do
      if next_tags[i] < next_tags[best] then best = i end
    end
  end
end

-- Returns the lines that may have a turn among the next `count` starts, and the turns of each, as lists with an element for each
-- line: a table for each line would cost a claim more than the turns themselves.
function turns.next(at, count)
  local flat = redis.call('ZRANGE', at.order, 0, count - 1, 'WITHSCORES')
  local digests, tags, next_tags, starts = {}, {}, {}, {}
  for i = 1, #flat / 2 do
    local tag = tonumber(flat[2 * i])
    digests[i], tags[i], next_tags[i], starts[i] = flat[2 * i - 1], tag, tag, 0
  end
  local steps = steps_of(at.conf, digests)
  if #digests == 1 then starts[1] = count elseif #digests > 1 then count_starts(starts, next_tags, steps, count) end
  return { digests = digests, tags = tags, steps = steps, starts = starts, taken = {} }
end

-- Takes the entries of the turns from their lines; `only`: those of this line. Returns the entries.
function turns.take(at, next_turns, only)
  local entries, n = {}, 0
  for i, digest in ipairs(next_turns.digests) do
    local starts = next_turns.starts[i]
    if starts > 0 and (not only or digest == only) then
      local popped = redis.call('ZPOPMIN', at.line .. digest, starts)
      next_turns.taken[i] = popped
      for k = 1, #popped, 2 do
        n = n + 1
        entries[n] = popped[k]
      end
    end
  end
  return entries
end

-- Returns the entries to their lines, as if they had not been taken.
function turns.undo(at, next_turns)
  for i, popped in pairs(next_turns.taken) do
    local args = {}
    for k = 1, #popped, 2 do args[k], args[k + 1] = popped[k + 1], popped[k] end
    if args[1] then redis.call('ZADD', at.line .. next_turns.digests[i], unpack(args)) end
  end
end

-- Removes empty lines from the order; their tags (tag, digest, ...) stay while other lines wait.
function turns.rest(at, digests, tags)
  redis.call('ZREM', at.order, unpack(digests))
  if redis.call('EXISTS', at.order) == 1 then
    redis.call('ZADD', at.tags, unpack(tags))
  else
    redis.call('DEL', at.tags)
  end
end

-- Whether all lines that have had all their turns are empty now. Tenants often have as many jobs as each other, so the first
-- line decides whether to look at the others. An empty line that is not noticed here loses its turn later.
local function are_empty(at, next_turns)
  local keys = {}
  for i, popped in pairs(next_turns.taken) do
    if #popped == 2 * next_turns.starts[i] then
      keys[#keys + 1] = at.line .. next_turns.digests[i]
      if #keys == 1 and redis.call('EXISTS', keys[1]) == 1 then return false end
    end
  end
  return keys[1] and redis.call('EXISTS', unpack(keys)) == 0
end

-- Writes the tags of the lines after their starts. Returns the virtual time: the tag of the last start, at least `virtual`.
function turns.pass(at, next_turns, virtual)
  local going_on, empty, rested = {}, {}, {}
  local is_last = are_empty(at, next_turns)
  for i, popped in pairs(next_turns.taken) do
    local taken, digest = #popped / 2, next_turns.digests[i]
    local tag = next_turns.tags[i] + taken * next_turns.steps[i]
    if taken > 0 then virtual = math.max(virtual, tag - next_turns.steps[i]) end
    local args = taken == next_turns.starts[i] and not is_last and going_on or rested
    args[#args + 1] = tag
    args[#args + 1] = digest
    if args == rested then empty[#empty + 1] = digest end
  end
  if going_on[1] then redis.call('ZADD', at.order, unpack(going_on)) end
  if empty[1] then turns.rest(at, empty, rested) end
  redis.call('ZREMRANGEBYSCORE', at.tags, '-inf', virtual)
  return virtual
end
