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

local PAGE = 500 -- held jobs in one look

write_though_memory_is_full()
local worker = ARGV[1]
local known = {}
for i = 2, #ARGV do known[ARGV[i]] = true end

local returned = 0
local function hand_back_unknown(stream, item)
  local entry = redis.call('XRANGE', stream, item, item)[1]
  local job = entry and not known[entry[2][2]] and load(entry[2][2])
  if job and job.state == 'running' and job.worker == worker then
    settle_one(job.id, job.token, 'drain', '', '')
    returned = returned + 1
  end
end

for _, stream in ipairs(streams()) do
  local from = '-'
  while true do
    local page = redis.call('XPENDING', stream, GROUP, from, '+', PAGE, worker)
    for _, item in ipairs(page) do hand_back_unknown(stream, item[1]) end
    if #page < PAGE then break end
    from = '(' .. page[#page][1]
  end
end
conclude()
return { returned }
