"""A pool's queue in Redis: `Producer` submits, `Consumer` claims and settles, `Inspector` looks and sets up.

One Lua script for each transition (`scripts/`) is the only writer; the classes here are thin, typed callers.
Who takes over next: `agentpool.client` for programs, the worker, the operator and the gateway.
"""
