"""Pure decisions: how many workers a pool should have, and why.

Nothing in here reads a clock, a queue or a cluster; time comes in as a number of seconds. `observation`
holds what is seen, `policy` what the user asked for, `memory` what is remembered between decisions; `demand`
turns the backlog into slots, `capacity` places workers on nodes and shares them between pools, `behavior`
smooths, `decide` puts it together. `agentpool_operator.scaling_loop` takes over next.
"""
