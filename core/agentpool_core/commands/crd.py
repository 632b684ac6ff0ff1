"""`agentpool crd`: prints the CustomResourceDefinition, ready for `kubectl apply --server-side -f -`."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  agentpool crd | kubectl apply --server-side -f -

\b
Exit codes: 0 printed, 2 wrong usage."""


@click.command(epilog=EPILOG)
def crd() -> None:
    """Print the AgentPool CustomResourceDefinition as YAML."""
    from agentpool_core.spec.crd import custom_resource_definition, to_yaml

    click.echo(to_yaml(custom_resource_definition()), nl=False)
