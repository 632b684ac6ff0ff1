"""Building blocks of the `agentpool` command; each module of `commands` is a subcommand made of them."""
