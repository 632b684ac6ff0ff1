-- Tokens of models that jobs take from rates of tokens: an estimate at the start, corrected by the usage that the job reports.
--
-- The estimate is the one that the job declares, or that of its route. A job of more tokens than a burst starts when the bucket is full.
-- The field `debit` of a running job has the tokens that it has reported, and what is left of the estimate in each bucket: 'REPORTED
-- BUCKET=LEFT ...'. Reported tokens use up what is left; tokens beyond it are taken when they are reported. When the attempt ends,
-- the rest of the estimate returns, unless the attempt has reported nothing: then the estimate stands. A job that is requeued, or
-- whose worker is lost, returns what it has not reported, since its next start takes the estimate again.

--- include: limits

local estimates = {} -- by route

-- Returns the tokens that the job is expected to use.
local function estimate_of(job)
  local declared = number_or(job.tokens, nil)
  if declared then return math.max(0, declared) end
  local route = job.spec.route
  estimates[route] = estimates[route] or setting_or(redis.call('HGET', CONF, 'tokens:' .. route), 0)
  return estimates[route]
end

-- Returns how much a room must have for the job to start: starts or tokens.
function tokens.need_of(room, job)
  if not room.tokens then return 1 end
  return math.max(1, math.min(estimate_of(job), room.burst))
end

-- Returns how much the start of the job takes from a room: starts or tokens, a debt of one burst at most.
function tokens.amount_of(room, job)
  if not room.tokens then return 1 end
  return math.min(estimate_of(job), 2 * room.burst)
end

local function write_debit(job, reported, parts)
  redis.call('HSET', job.key, 'debit', string.format('%.0f', reported) .. ' ' .. table.concat(parts, ' '), 'mark', '1')
end

-- Takes the estimate of a starting job from its rates of tokens.
function tokens.debit(job, rooms)
  local parts = {}
  for _, room in ipairs(rooms) do
    if room.tokens then
      local amount = tokens.amount_of(room, job)
      limits.charge(room, amount)
      parts[#parts + 1] = room.bucket .. '=' .. string.format('%.0f', amount)
    end
  end
  if #parts > 0 then write_debit(job, 0, parts) end
end

-- Counts tokens that a running job has reported.
function tokens.report(job, used)
  local reported, parts = number_or(string.match(job.debit, '^%d+'), 0), {}
  for bucket, text in string.gmatch(job.debit, '(%S+)=(%d+)') do
    local left = number_or(text, 0)
    limits.correct(bucket, math.max(0, used - left))
    parts[#parts + 1] = bucket .. '=' .. string.format('%.0f', math.max(0, left - used))
  end
  write_debit(job, reported + used, parts)
end

-- Ends the count of a job that runs no longer. `ended`: the attempt has ended, so that it has used its estimate if it reports nothing.
function tokens.settle(job, ended)
  redis.call('HDEL', job.key, 'debit')
  if ended and string.match(job.debit, '^0 ') then return end
  for bucket, left in string.gmatch(job.debit, '(%S+)=(%d+)') do limits.correct(bucket, -number_or(left, 0)) end
end
