-- list: returns a page of the selected jobs, state by state: oldest first within each stream; jobs that ended without an
-- error, newest first. Only reads.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 selector (JSON, lib/selection.lua), 2 cursor ('': from the beginning), 3 most jobs, 4 most bytes: the page ends
--        with the job that reaches a limit, 5 names of the fields to return, separated by blanks; the first is state
-- Returns {next cursor ('': no more jobs), id, [field, value, ...], ...}
-- Events none.

--- include: pool
--- include: selection

local most_jobs, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local page = { '' }
local jobs, bytes = 0, 0

local function is_full()
  return jobs >= most_jobs or bytes >= most_bytes
end

local function add(id, fields, values)
  local record = {}
  for i, name in ipairs(fields) do
    if values[i] then
      record[#record + 1] = name
      record[#record + 1] = values[i]
      bytes = bytes + #name + #values[i]
    end
  end
  page[#page + 1] = id
  page[#page + 1] = record
  jobs = jobs + 1
end

page[1] = selection.each(selection.read(ARGV[1]), ARGV[2], ARGV[5], is_full, add)
return page
