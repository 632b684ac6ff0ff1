-- The keys of the pool's schedules. The definitions of the AgentPool are fields `schedule:NAME` of `conf`.

local SCHEDULES = {
  defined = PREFIX .. 'schedules', due = PREFIX .. 'schedules-due', last = PREFIX .. 'schedules-last',
  paused = PREFIX .. 'schedules-paused',
}
