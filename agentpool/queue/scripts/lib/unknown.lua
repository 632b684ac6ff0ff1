-- Hands back what a worker holds in the books and does not know of, because an answer to it was lost: it was never begun,
-- so no attempt counts. Needs lib/settle.lua and lib/workers.lua.

local PAGE = 500 -- held jobs in one look

-- ARGV[first..] are the ids of the jobs that it does know of. Returns how many were handed back.
local function hand_back_unknown(worker, first)
  local known = {}
  for i = first, #ARGV do known[ARGV[i]] = true end
  local returned = 0
  local function look_at(stream, item)
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
      for _, item in ipairs(page) do look_at(stream, item[1]) end
      if #page < PAGE then break end
      from = '(' .. page[#page][1]
    end
  end
  conclude()
  return returned
end
