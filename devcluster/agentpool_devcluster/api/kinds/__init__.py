"""Built-in kinds of the API server: defaults, rules, and subresources."""
