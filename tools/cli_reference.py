"""The page of all commands, from the click commands themselves. `generate.py` writes the page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version

import click

from agentpool_core import DISTRIBUTION
from agentpool_core.cli.root import root

HEAD = """\
# Command line

Every command, generated from the code by `make generate`; `agentpool COMMAND --help` prints the same. With
`kubectl-agentpool` on `PATH`, `kubectl agentpool COMMAND` works too. A duration is a number with a unit, such as
`500ms`, `30s`, `5m` or `2h`.
"""


def reference() -> str:
    """Return the whole page."""
    top = click.Context(root, info_name="agentpool")
    found = [part for name in root.list_commands(top) for part in _commands(top, _of(root, top, name), name)]
    text = "\n\n".join((HEAD.rstrip(), *found)) + "\n"
    return text.replace(version(DISTRIBUTION), "VERSION")


def _of(group: click.Group, context: click.Context, name: str) -> click.Command:
    command = group.get_command(context, name)
    if command is None:
        raise LookupError(f"the command {name} is listed and not there")
    return command


def _commands(above: click.Context, command: click.Command, name: str) -> Iterator[str]:
    """Yield the section of a command, and those of its subcommands; nothing of a hidden command."""
    if command.hidden:
        return
    context = click.Context(command, info_name=name, parent=above)
    yield "\n\n".join(_section(context, command))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _commands(context, _of(command, context, inner), inner)


def _section(context: click.Context, command: click.Command) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}"
    yield f"```text\n{context.command_path} {usage}\n```"
    yield _paragraph(command.help or "")
    options = [row for param in command.get_params(context) if (row := _row(context, param))]
    if options:
        yield "\n".join(("| option | value | meaning |", "|---|---|---|", *options))
    for part in re.split(r"\n\n(?:\x08\n)?|\x08\n", command.epilog or ""):
        first, _, rest = part.strip().partition("\n")
        if first.startswith("Examples"):
            yield f"```text\n{inspect.cleandoc(rest)}\n```"
        elif first:
            yield _paragraph(part)


def _row(context: click.Context, param: click.Parameter) -> str:
    """Return the row of an option; empty for an argument, `--help`, and a hidden option."""
    record = param.get_help_record(context)
    if not isinstance(param, click.Option) or record is None or "--help" in param.opts:
        return ""
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    if isinstance(param.type, click.Choice):
        value = ", ".join(f"`{choice}`" for choice in param.type.choices)
    else:
        value = "" if param.is_flag else f"`{param.make_metavar(context).removesuffix(' RANGE')}`"
    return f"| {names} | {value} | {_paragraph(record[1]).replace('|', chr(92) + '|')} |"


def _paragraph(text: str) -> str:
    """Return a text with its paragraphs on a line each, and options as code."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text.replace("\x08", "")))
    return "\n\n".join(re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", " ".join(part.split())) for part in parts)
