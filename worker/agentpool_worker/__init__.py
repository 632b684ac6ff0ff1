"""The worker: claims jobs from a pool's queue under a semaphore, runs them, and commits how they ended."""
