-- count: counts a part of the selected jobs. Only reads.
--
-- KEYS   1 conf (hash, the pool's)
-- ARGV   1 selector (JSON, lib/selection.lua), 2 cursor ('': from the beginning)
-- Returns {next cursor ('': all are counted), number of jobs in this part}
-- Events none.

--- include: pool
--- include: selection

local number = 0

local function is_full()
  return false
end

local function add()
  number = number + 1
end

local cursor = selection.each(selection.read(ARGV[1]), ARGV[2], selection.MATCH_FIELDS, is_full, add)
return { cursor, number }
