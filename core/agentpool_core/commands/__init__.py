"""Subcommands of `agentpool` that need no other package; each module is a command, found by its entry point."""
