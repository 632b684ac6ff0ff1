"""The whole system on one machine: `agentpool dev` and `agentpool demo`."""
