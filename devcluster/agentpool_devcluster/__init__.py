"""Kubernetes in one process, for a laptop or CI without Docker. It imports nothing of the other rooms."""
