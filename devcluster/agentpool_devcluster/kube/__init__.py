"""How the controllers and the node speak to a Kubernetes API server: over HTTP, from a kubeconfig, only so."""
