"""What the API server itself knows of single built-in kinds: defaults, rules, and their subresources."""
