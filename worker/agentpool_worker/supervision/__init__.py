"""The supervisor: a small process that starts the worker, observes its end, and restarts it."""
