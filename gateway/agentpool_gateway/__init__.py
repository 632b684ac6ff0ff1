"""The HTTP gateway: submit, follow and manage jobs, with authorization before any lookup.

`app` assembles the gateway, `commands` serves it. It imports `agentpool_core`, neither operator nor worker.
"""
