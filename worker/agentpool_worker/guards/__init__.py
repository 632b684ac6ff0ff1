"""Guards of the worker process: its resources, its memory, its forks."""
