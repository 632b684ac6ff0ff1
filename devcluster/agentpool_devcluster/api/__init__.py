"""The Kubernetes API server of the devcluster: one process, one in-memory store, plain HTTP.

The server speaks enough of the Kubernetes API for the unmodified operator, kubectl, Helm and the official client
libraries. Requests enter through `http`, are carried out by `operations`, kept by `store`, and read back as objects,
tables or watch streams. Controllers and nodes are ordinary clients and live elsewhere.
"""
