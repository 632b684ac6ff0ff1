"""Access to a Kubernetes API server for the controllers and the node: HTTP only, configured by a kubeconfig."""
