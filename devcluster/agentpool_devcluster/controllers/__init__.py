"""The control loops of a cluster: rollouts, replicas, placement, lost nodes.

Each loop has a module that watches and writes, and pure modules that decide. Loops use only the Kubernetes API.
"""
