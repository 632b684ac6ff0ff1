-- The keys of the pool's schedules. The definitions of the AgentPool are fields `schedule:NAME` of `conf`.

schedules.defined = PREFIX .. 'schedules'
schedules.due = PREFIX .. 'schedules-due'
schedules.last = PREFIX .. 'schedules-last'
schedules.paused = PREFIX .. 'schedules-paused'
