"""Authentication (tokens) and authorization (RBAC, access reviews)."""
