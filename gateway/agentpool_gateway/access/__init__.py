"""Authentication and authorization: static tokens, or Kubernetes' reviews, behind a common interface.

`agentpool_gateway.access.admission` asks before a request touches a queue.
"""
