"""The one client of the Kubernetes API: kubeconfig, paths, requests."""
