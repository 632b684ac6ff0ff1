"""`python -m agentpool`: the same as the `agentpool` command."""

from agentpool.cli import main

main()
