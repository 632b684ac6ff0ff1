"""Who calls, and what the caller may do: static tokens, or Kubernetes' own reviews, behind one interface.

Who takes over next: `agentpool_gateway.entry` asks before a request touches a queue.
"""
