"""Authentication and authorization: static tokens, or Kubernetes' reviews, behind a common interface.

`agentpool_gateway.entry` asks before a request touches a queue.
"""
