-- Packing: which jobs fit into what a worker has free, in slots and in GPU memory.
--
-- The setting `cost:ROUTE` says what a job of a route takes. A job that does not fit lets later jobs pass that do. So that they
-- never keep its room from it, one worker does not start jobs that were due later than it by its own patience: what becomes free
-- there is kept for it. The counter field `k:ROUTE:PRIORITY` names that worker, and the time of its last claim.

--- include: jobs

local KEEP_MS = 30000 -- since the last claim of a worker that keeps room; afterwards a different worker may keep room instead
local PASS_MS = 100 -- between two bells that a worker passes on because no job fits

local slots, all_slots, memory, all_memory = 0, nil, 0, 0 -- of the claiming worker: free and in all; memory in MiB

-- Reads the room of the claiming worker: free slots, or 'FREE ALL FREE_MIB ALL_MIB' of slots and GPU memory. Returns the free slots.
function packing.enter(text)
  local free, all, free_mib, all_mib = string.match(text, '^(%-?%d+) (%d+) (%d+) (%d+)$')
  slots, all_slots = tonumber(free or text), tonumber(all)
  memory, all_memory = tonumber(free_mib or 0), tonumber(all_mib or 0)
  return slots
end

-- Returns the cost in a setting; nil: one slot.
function packing.cost_of(text)
  local cost_slots, cost_memory = string.match(text or '', '^(%d+) (%d+)$')
  return cost_slots and { slots = math.max(1, tonumber(cost_slots)), memory = tonumber(cost_memory) } or nil
end

-- A worker without jobs takes a job of more than all its slots.
local function count_in(c, free_slots, free_memory)
  if not c.cost then return free_slots end
  local by_slots = math.floor(free_slots / c.cost.slots)
  if by_slots == 0 and free_slots == all_slots then by_slots = 1 end
  return c.cost.memory == 0 and by_slots or math.min(by_slots, math.floor(free_memory / c.cost.memory))
end

-- Returns how many more jobs of a candidate fit.
function packing.count(c) return count_in(c, slots, memory) end

function packing.fits(c) return packing.count(c) > 0 end

-- Returns the candidate of the oldest head that does not fit, but would fit into the empty worker.
local function oldest_unfit(candidates, is_open)
  local oldest
  for _, c in ipairs(candidates) do
    local is_unfit = c.cost and is_open(c) and not packing.fits(c) and all_slots and count_in(c, all_slots, all_memory) > 0
    if is_unfit and (not oldest or c.score < oldest.score) then oldest = c end
  end
  return oldest
end

-- Returns the latest due time (enqueue time plus patience, ms) of a job that this worker may start; math.huge: any, because it
-- keeps no room. `is_open(c)`: whether jobs of a candidate wait and its limits let them start.
function packing.bar_of(candidates, is_open, counters, worker)
  local unfit = oldest_unfit(candidates, is_open)
  if not unfit then return math.huge end
  local bar, is_passed = unfit.score + unfit.patience, false
  for _, c in ipairs(candidates) do is_passed = is_passed or (is_open(c) and packing.fits(c) and c.score > bar) end
  if not is_passed then return math.huge end
  local field = 'k' .. unfit.place
  local keeper, at = string.match(counters[field] or '', '^(.*) (%d+)$')
  if keeper and keeper ~= worker and now - number_or(at, 0) < KEEP_MS then return math.huge end
  redis.call('HSET', COUNTERS, field, worker .. ' ' .. now_text)
  return bar
end

-- Takes the cost of started jobs of a candidate from the room. No worker keeps room for them any longer.
function packing.pay(c, started, counters)
  slots = slots - started * (c.cost and c.cost.slots or 1)
  if not c.cost or started == 0 then return end
  memory = memory - started * c.cost.memory
  if counters['k' .. c.place] then redis.call('HDEL', COUNTERS, 'k' .. c.place) end
end

-- Rings for the rest. A worker with free slots listens again, so it passes on a bell for other workers only now and then.
function packing.ring_for(rest, counters, worker)
  if rest == 'elsewhere' and slots > 0 then
    local field = 'b:' .. worker
    if now - number_or(counters[field], 0) < PASS_MS then return end
    redis.call('HSET', COUNTERS, field, now_text)
  end
  ring()
end
