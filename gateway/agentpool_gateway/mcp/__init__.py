"""Model Context Protocol: a pool as tools for an agent, over HTTP and over standard input and output.

A job is the unit of long work: a tool that starts one returns its result, or its id for a later call. `tools` lists the
tools of a pool, `operations` runs them, `server` answers the protocol by the SDK, `endpoint` serves HTTP and `stdio` a
local program.
"""
