"""The gateway: jobs over HTTP, for callers in any language; it queues on busy and never answers 503 for it."""
