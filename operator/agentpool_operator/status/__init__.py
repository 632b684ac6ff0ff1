"""A pool's status: conditions, events, and the patch of the resource."""
