"""Pure decisions: the number of workers of a pool, with reasons.

Nothing here reads a clock, a queue or a cluster; time comes in as a number of seconds. `observation` holds the inputs,
`policy` the user's settings, `memory` the state between decisions; `demand` turns the backlog into slots, `reaction`
and `keep_warm` look ahead and back, `assessment` takes the larger, `sharing` places workers on nodes and shares them
between pools, `behavior` smooths, `decide` combines all. `agentpool_operator.pools.observing` fills in the inputs;
`agentpool_operator.scale_loop.loop` calls `decide` and applies the result.
"""
