"""The `agentpool` command, assembled from the commands of each package.

Packages register click commands in the entry-point group `agentpool.commands`; a command is imported only for its run
or the help, so `agentpool --help` stays fast and a missing extra is reported only on use. A module that is missing
because of a bug is not a missing extra: its error is not caught. Errors that AgentPool or click raise on purpose end as
a line on standard error.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import click

from agentpool_core import DISTRIBUTION
from agentpool_core.cli.groups import Group
from agentpool_core.cli.kube_options import kube_options, namespace_option
from agentpool_core.errors import AgentPoolError
from agentpool_core.process import standard_streams
from agentpool_core.text import printable

GROUP = "agentpool.commands"


class Subcommands(Group):
    """Command group that loads its subcommands from entry points on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands, sorted."""
        del ctx
        return sorted({entry.name for entry in entry_points(group=GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the subcommand of that name; None if no package provides it."""
        del ctx
        found = next((entry for entry in entry_points(group=GROUP) if entry.name == cmd_name), None)
        if found is None:
            return None
        return _load(found)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand. A missing package, possibly noticed only now, leads to an installation hint."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if not _is_not_installed(error):
                raise
            name = ctx.invoked_subcommand
            raise click.ClickException(
                f"'agentpool {name}' needs {error.name}, which is not installed; "
                f"install it with: pip install '{_distribution(str(name))}'"
            ) from error


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        if not _is_not_installed(error):
            raise
        return _unavailable(entry.name, error)
    if not isinstance(command, click.Command):
        raise TypeError(f"entry point {entry.name} = {entry.value} is not a click command")
    return command


def _is_not_installed(error: ModuleNotFoundError) -> bool:
    """Return whether a third-party package is absent as a whole, so that installing it helps."""
    package = (error.name or "").partition(".")[0]
    ours = package.partition("_")[0] == "agentpool"
    return bool(package) and not ours and find_spec(package) is None


def _unavailable(name: str, error: ModuleNotFoundError) -> click.Command:
    """Return a stand-in for a command with a missing package, which reports that for every use."""

    def refuse() -> NoReturn:
        raise error

    return click.Command(
        name,
        callback=refuse,
        short_help=f"(needs {_distribution(name)})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


def _distribution(name: str) -> str:
    """Return the distribution to install for a subcommand: the package with the required extra, if any."""
    entry = next(entry for entry in entry_points(group=GROUP) if entry.name == name)
    extra = entry.value.partition(".")[0].removeprefix("agentpool_")
    return DISTRIBUTION if extra == "core" else f"{DISTRIBUTION}[{extra}]"


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(DISTRIBUTION), prog_name="agentpool")
@namespace_option
@kube_options
def root() -> None:
    """Queue, slots and just enough workers for AI agents on Kubernetes."""


def main() -> None:
    """Run the console script. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    standard_streams.prepare()
    as_plugin = Path(sys.argv[0]).name == "kubectl-agentpool"
    try:
        code = root.main(standalone_mode=False, prog_name="kubectl agentpool" if as_plugin else "agentpool")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(printable(f"error: {_one_line(error)}"), err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except AgentPoolError as error:
        click.echo(printable(f"error: {error}"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if not standard_streams.is_unwritable(error):
            raise
        standard_streams.discard_output()
        click.echo(f"error: standard output: {error.strerror}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _one_line(error: click.ClickException) -> str:
    """Return click's message in our form; a usage error names the command with the right help."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message += f"; see '{error.ctx.command_path} --help'"
    return message
