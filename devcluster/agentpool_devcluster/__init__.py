"""A small Kubernetes for a laptop or CI without Docker. Imports no AgentPool package."""
