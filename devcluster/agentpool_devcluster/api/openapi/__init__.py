"""OpenAPI v2 and v3 documents, assembled from the same schemas that validate."""
