"""The HTTP gateway: submit, follow and manage jobs, with authorization before any lookup.

`app` assembles the gateway, `commands` serves it. The gateway imports `agentpool` only, neither operator nor worker.
"""
