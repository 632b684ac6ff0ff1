"""Connections to Redis: URLs, pools, failover, and the translation of every failure."""

from agentpool_core.queue.connection.client import check_server, connect

__all__ = ["check_server", "connect"]
