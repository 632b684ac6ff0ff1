"""A pool's queue as the operator uses it: Secret, connection, readings, settings, purge."""
