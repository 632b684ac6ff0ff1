-- Usage of models that running jobs report. A report is four values: model, input tokens, output tokens, cost (billionths).
--
-- The field `usage` of a job has the totals of all attempts. USAGE (codec/layout.py):
-- token, number of the last report of that lease, reports, input tokens, output tokens, cost.

local USAGE = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
local REPORT_ARGS = 4

local function add_usage(total, first)
  total.reports = total.reports + 1
  total.input = total.input + tonumber(ARGV[first + 1])
  total.output = total.output + tonumber(ARGV[first + 2])
  total.cost = total.cost + tonumber(ARGV[first + 3])
end

-- Returns the job's totals; `last`: number of the last report of the present lease.
local function usage_of(job)
  local text = redis.call('HGET', job.key, 'usage') or ''
  local token, last, reports, input, output, cost = string.match(text, USAGE)
  if number_or(token, 0) ~= job.token then last = 0 end
  return {
    last = number_or(last, 0), reports = number_or(reports, 0), input = number_or(input, 0),
    output = number_or(output, 0), cost = number_or(cost, 0),
  }
end

local function write_usage(job, total)
  redis.call('HSET', job.key, 'usage', string.format('%.0f %.0f %.0f %.0f %.0f %.0f', job.token, total.last, total.reports,
    total.input, total.output, total.cost))
end

-- Adds the reports ARGV[at..], numbered from `first`, without those that an earlier call has added.
local function record_usage(job, first, at)
  local total = usage_of(job)
  for i = at, #ARGV, REPORT_ARGS do
    local number = first + (i - at) / REPORT_ARGS
    if number > total.last then
      total.last = number
      add_usage(total, i)
    end
  end
  write_usage(job, total)
end
