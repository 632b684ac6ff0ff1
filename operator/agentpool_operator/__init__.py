"""The operator: watches AgentPools and gives each just enough workers, never under running work."""
