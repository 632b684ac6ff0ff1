"""Guards of the worker process: resources, memory, forks."""
