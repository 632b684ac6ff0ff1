"""The ground floor: what every room of AgentPool speaks.

Errors, the AgentPool resource's types (`spec`), jobs, the queue and the client live here. It imports none of the
rooms that stand on it (operator, worker, gateway, local); import-linter enforces that.
"""
