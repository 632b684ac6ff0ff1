"""A node that runs each container as a local process.

`agent` registers the node and hands every pod bound to it to a `pod_runner`, which runs its containers through
`container` and `process`, and reports through `pod_status`. It speaks only the Kubernetes API, so it serves a real API
server as well as the devcluster's. What a process on this host cannot honour, `restrictions` refuses by name.
"""
