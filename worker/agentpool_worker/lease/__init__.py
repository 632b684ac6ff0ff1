"""The worker's lease: renewal, agreement with the queue, and the end of a worker that cannot renew."""
