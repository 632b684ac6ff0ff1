-- Deletes tombstones. An undelivered entry cannot be deleted, because the group's lag would become unknown. If its job ends
-- in the queue, the entry stays as a tombstone until it is the stream's head.

--- include: jobs

function tombstones.sweep(stream, route, priority)
  local SWEEP_MAX = 1000 -- tombstones deleted in one script
  local place = ':' .. route .. ':' .. priority
  local left = counter_of('t' .. place)
  local cursor = redis.call('HGET', COUNTERS, 'c' .. place)
  local swept = 0
  while left > 0 and swept < SWEEP_MAX do
    local head = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', 1)[1]
    if not head then break end
    local state = redis.pcall('HGET', PREFIX .. 'job:' .. head[2][2], 'state')
    if state and not jobs.ENDS[state] then break end -- left to a claim
    redis.call('XREADGROUP', 'GROUP', GROUP, SWEEPER, 'COUNT', 1, 'STREAMS', stream, '>')
    drop_entry(stream, head[1])
    cursor = head[1]
    left = left - 1
    swept = swept + 1
  end
  if swept > 0 then
    redis.call('HSET', COUNTERS, 'c' .. place, cursor)
    bump('t' .. place, -swept)
  end
end
