-- Compares the jobs that a worker holds with the jobs that the queue leases to the worker, and resolves each difference.
-- Causes: a lost reply, or a Redis that was restored to an earlier state.

--- include: announce
--- include: jobs
--- include: settle
--- include: stray
--- include: workers

-- ARGV[first..] are a job id and a token for each job that the worker holds. Returns the number of requeued jobs that the
-- worker does not hold (their attempts do not count), the number of deleted entries without a job, and the ids and tokens
-- of jobs that the worker holds without a lease.
function agreement.reach(worker, first)
  local known, unleased = {}, {}
  local returned, dropped = 0, 0
  local function add_unleased(id, token)
    unleased[#unleased + 1] = id
    unleased[#unleased + 1] = token
  end
  for i = first, #ARGV, 2 do
    local job = jobs.load(ARGV[i])
    if job and job.state == 'running' and job.worker == worker and job.token == tonumber(ARGV[i + 1]) then
      known[job.id] = job
    else
      add_unleased(ARGV[i], ARGV[i + 1])
    end
  end
  local function requeue_held(job)
    settle.one(job.id, job.token, worker, 'drain', '', '')
    returned = returned + 1
  end
  workers.each_held(worker, function(stream, item)
    local entry = redis.call('XRANGE', stream, item, item)[1]
    local job = entry and jobs.load(entry[2][2])
    if job and jobs.is_undecodable(job) then
      jobs.fail_undecodable(job, stream, item)
    elseif not job or job.entry ~= item then
      if job and known[job.id] then drop_entry(stream, item) else stray.drop(job, stream, item) end
      dropped = dropped + 1
    elseif known[job.id] then
      known[job.id] = nil
    elseif job.state == 'running' and job.worker == worker then
      requeue_held(job)
    end
  end)
  for id, job in pairs(known) do -- without its entry, the job is never recovered from a lost worker
    add_unleased(id, job.token)
    requeue_held(job)
  end
  announce.conclude()
  return returned, dropped, unleased
end
