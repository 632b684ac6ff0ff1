-- spend: adds usage of models that a running job reports, or reserves money for a call that the job is about to make.
--
-- The field `usage` of a job has the totals of all attempts, as USAGE (codec/layout.py). usage:DAY has the totals of a day by
-- tenant, kind and model; beyond ROWS_MAX rows, further combinations share a row. The budgets among the pool's limits count
-- what is reserved, and the rest of the cost when it is reported (lib/limits.lua); rates of tokens count what is reported
-- (lib/tokens.lua).
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 job id, 2 token, 3 worker, 4 number of the first report or of the reservation, 5 money (billionths): to reserve, or
--        reserved before for the reported calls; then four for each report: model, input tokens, output tokens, cost
--        (billionths). No report: a reservation
-- Returns {'ok'} | {'stale'}: the lease is no longer current; nothing was written
--        | {'over', budget, amount, money left, ms until its next window}: nothing was reserved.
-- Events none: a budget with money again makes jobs ready, which are queued already.

--- include: pool
--- include: announce
--- include: jobs
--- include: limits
--- include: tokens

local USAGE = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
local REPORT_ARGS = 4
local FIRST_REPORT = 6
local ROWS_MAX = 10000 -- of a day, as in usage_totals.py
local DAYS_MAX = 62 -- kept, today included
local OTHERS = '\n~others\n'
local DAY_MS = 86400000

local function usage_key(day)
  return PREFIX .. 'usage:' .. string.format('%.0f', day)
end

local function numbers_of(total)
  return string.format('%.0f %.0f %.0f %.0f', total.calls, total.input, total.output, total.cost)
end

local function add_report(total, first)
  total.calls = total.calls + 1
  total.input = total.input + tonumber(ARGV[first + 1])
  total.output = total.output + tonumber(ARGV[first + 2])
  total.cost = total.cost + tonumber(ARGV[first + 3])
end

local function totals_from(calls, input, output, cost)
  return {
    calls = number_or(calls, 0), input = number_or(input, 0), output = number_or(output, 0), cost = number_or(cost, 0),
  }
end

-- Adds the report ARGV[first..] to the day's row of the job's tenant and kind, and the model.
local function add_to_day(key, job, first)
  local row = (job.tenant or '') .. '\n' .. job.spec.kind .. '\n' .. ARGV[first]
  local text = redis.call('HGET', key, row)
  if not text and redis.call('HLEN', key) >= ROWS_MAX then
    row = OTHERS
    text = redis.call('HGET', key, row)
  end
  local total = totals_from(string.match(text or '', '^(%d+) (%d+) (%d+) (%d+)$'))
  add_report(total, first)
  redis.call('HSET', key, row, numbers_of(total))
end

local function read_totals(job)
  local token, last, calls, input, output, cost = string.match(redis.call('HGET', job.key, 'usage') or '', USAGE)
  local total = totals_from(calls, input, output, cost)
  total.last = tonumber(token) == job.token and number_or(last, 0) or 0 -- number of the last report of this lease
  return total
end

local function write_totals(job, total)
  redis.call('HSET', job.key, 'usage', string.format('%.0f %.0f ', job.token, total.last) .. numbers_of(total))
end

-- Adds the reports, without those that an earlier call has added.
local function record_usage(job, total, first, reserved)
  local key, before, tokens_before = usage_key(math.floor(now / DAY_MS)), total.cost, total.input + total.output
  if first <= total.last then reserved = 0 end -- a repeated call
  job.tenant = redis.call('HGET', job.key, 'tenant') or nil
  for i = FIRST_REPORT, #ARGV, REPORT_ARGS do
    local number = first + (i - FIRST_REPORT) / REPORT_ARGS
    if number > total.last then
      total.last = number
      add_report(total, i)
      add_to_day(key, job, i)
    end
  end
  write_totals(job, total)
  redis.call('PEXPIRE', key, DAYS_MAX * DAY_MS)
  if total.cost - before ~= reserved then limits.spend(job, total.cost - before - reserved) end
  local used = total.input + total.output - tokens_before
  if job.debit and used > 0 then tokens.report(job, used) end
end

local function reserve(job, total, number, money)
  if number <= total.last then return { 'ok' } end -- a repeated call
  local refusal = limits.refusal_to_spend(job, money)
  if refusal then return refusal end
  total.last = number
  write_totals(job, total)
  if money > 0 then limits.spend(job, money) end
  return { 'ok' }
end

local job = jobs.load(ARGV[1])
if not job or job.state ~= 'running' or job.token ~= tonumber(ARGV[2]) then return { 'stale' } end
if job.worker ~= ARGV[3] then return { 'stale' } end
local total, first, money = read_totals(job), tonumber(ARGV[4]), tonumber(ARGV[5])
if #ARGV < FIRST_REPORT then return reserve(job, total, first, money) end
record_usage(job, total, first, money)
if next(collected.freed) or next(collected.charged) then announce.conclude() end
return { 'ok' }
