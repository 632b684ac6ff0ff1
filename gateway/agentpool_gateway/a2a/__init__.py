"""Agent to agent: a pool as an agent of the A2A protocol, versions 1.0 and 0.3.

A message becomes a job, and a job is a task: a busy agent queues and does not refuse. `methods` holds the operations in
the types of A2A 1.0; `jsonrpc` and `rest` are the two bindings, `legacy` translates version 0.3, `discovery` serves the
cards.
"""
