"""A node that runs each container as a local process.

`agent` registers the node and hands every bound pod to a `pod_runner`, which runs the containers through `container`
and `process`, and reports through `pod_status`. The node uses only the Kubernetes API, so it serves any API server.
`restrictions` refuses by name the fields that a local process cannot honour.
"""
