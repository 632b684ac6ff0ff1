"""The whole system on a single machine: `agentpool dev` and `agentpool demo`."""
