"""The scaling loop: read the queues, let the pure package `scaling` decide, apply the size."""
