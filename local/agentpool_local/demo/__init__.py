"""`agentpool demo`: real agents on real files, measured and shown."""
