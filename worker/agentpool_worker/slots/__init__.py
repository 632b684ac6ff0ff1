"""The number of jobs that a worker runs at once."""
