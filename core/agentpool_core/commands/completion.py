"""`agentpool completion`: the completion script of a shell for commands, options and choices."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "agentpool"
VARIABLE = "_AGENTPOOL_COMPLETE"  # derived by click from the program's name
EPILOG = """\b
Examples:
  source <(agentpool completion bash)
  agentpool completion zsh > "${fpath[1]}/_agentpool"
  agentpool completion fish > ~/.config/fish/completions/agentpool.fish

\b
Exit codes: 0 printed, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(found(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
