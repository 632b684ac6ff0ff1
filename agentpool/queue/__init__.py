"""A pool's queue in Redis: `Producer` submits, `Consumer` claims and settles, `Inspector` reads and configures.

A Lua script for each transition (`scripts/`) is the only writer; the classes here are thin, typed callers. Used by
`agentpool.client`, the worker, the operator and the gateway.
"""

from agentpool.queue.connection import check_server, connect
from agentpool.queue.consumer import Consumer
from agentpool.queue.inspect import Inspector
from agentpool.queue.producer import Producer
from agentpool.queue.settings import PoolSettings, Route

__all__ = ["Consumer", "Inspector", "PoolSettings", "Producer", "Route", "check_server", "connect"]
