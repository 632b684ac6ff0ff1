"""The operator's access to the Kubernetes API."""
