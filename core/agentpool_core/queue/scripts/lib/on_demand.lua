-- The parts of a script are tables. A part's functions are created when the script first uses one of them: to create
-- all functions of all parts would take the server longer than the work of many calls.
local definitions = {}
local on_demand = {
  __index = function(part, name)
    setmetatable(part, nil)
    definitions[part]()
    return part[name]
  end,
}
