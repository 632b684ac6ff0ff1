"""The served AgentPools: watches, registry, typed specs."""
