"""The ground floor's own subcommands of `agentpool`; each module is one command, found by its entry point."""
