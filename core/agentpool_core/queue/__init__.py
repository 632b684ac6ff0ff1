"""A pool's queue in Redis: `Producer` submits, `Consumer` claims and settles, `Inspector` reads and configures.

A Lua script for each transition (`scripts/`) is the only writer; the classes here are thin, typed callers. Used by
`agentpool_core.client`, the worker, the operator and the gateway.
"""

from agentpool_core.queue.connection.client import check_server, connect
from agentpool_core.queue.consumer import Consumer
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.limits import Budget, Limit, LimitBy, Rate, RateUnit
from agentpool_core.queue.producer import Producer
from agentpool_core.queue.settings import PoolSettings, Route, Tenant

__all__ = [
    "Budget",
    "Consumer",
    "Inspector",
    "Limit",
    "LimitBy",
    "PoolSettings",
    "Producer",
    "Rate",
    "RateUnit",
    "Route",
    "Tenant",
    "check_server",
    "connect",
]
