-- Usage of models that running jobs report. A report is four values: model, input tokens, output tokens, cost (billionths).
--
-- The field `usage` of a job has the totals of all attempts, as USAGE (codec/layout.py). usage:DAY has the totals of a day by
-- tenant, kind and model; beyond ROWS_MAX rows, further combinations share a row.

local USAGE = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
local REPORT_ARGS = 4
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

-- Adds the reports ARGV[at..], numbered from `first`, without those that an earlier call has added.
local function record_usage(job, first, at)
  local v = redis.call('HMGET', job.key, 'usage', 'tenant')
  local token, last, calls, input, output, cost = string.match(v[1] or '', USAGE)
  local total, key = totals_from(calls, input, output, cost), usage_key(math.floor(now / DAY_MS))
  last = tonumber(token) == job.token and number_or(last, 0) or 0
  job.tenant = v[2]
  for i = at, #ARGV, REPORT_ARGS do
    local number = first + (i - at) / REPORT_ARGS
    if number > last then
      last = number
      add_report(total, i)
      add_to_day(key, job, i)
    end
  end
  redis.call('HSET', job.key, 'usage', string.format('%.0f %.0f ', job.token, last) .. numbers_of(total))
  redis.call('PEXPIRE', key, DAYS_MAX * DAY_MS)
end
