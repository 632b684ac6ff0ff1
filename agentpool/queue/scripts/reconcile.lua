-- reconcile: hands back what a worker holds in the books and does not know of, because an answer to it was lost.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 worker, then the ids of the jobs that it does hold
-- Returns {how many were handed back}
-- Events returned; cancelled where cancel was asked for. The attempts do not count.

--- include: pool
--- include: job
--- include: announce
--- include: settle
--- include: workers

write_though_memory_is_full()
local worker = ARGV[1]
local known = {}
for i = 2, #ARGV do known[ARGV[i]] = true end

local returned = 0
for _, stream in ipairs(streams()) do
  for _, item in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', RECOVER_MAX, worker)) do
    local entry = redis.call('XRANGE', stream, item[1], item[1])[1]
    local job = entry and not known[entry[2][2]] and load(entry[2][2])
    if job and job.state == 'running' and job.worker == worker then
      settle_one(job.id, job.token, 'drain', '', '')
      returned = returned + 1
    end
  end
end
conclude()
return { returned }
