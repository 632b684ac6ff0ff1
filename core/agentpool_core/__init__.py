"""The bottom layer of AgentPool.

Errors, the AgentPool resource's types (`spec`), jobs, the queue and the client live here. The package imports none of
the packages above it (operator, worker, gateway, local); import-linter enforces that.
"""

DISTRIBUTION = "agentpool-core"  # the name to install; `agentpool` on the package index is a different project
