"""The supervisor: a small process that starts the worker, observes the end, and restarts the worker."""
