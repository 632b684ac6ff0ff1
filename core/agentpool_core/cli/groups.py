"""Groups of commands that suggest a command of a similar name or of the same purpose."""

from __future__ import annotations

import difflib

import click

EQUIVALENTS = {  # names of other command lines, and of the glossary: the command of that purpose
    "job": "get jobs",
    "jobs": "get jobs",
    "list": "get jobs",
    "status": "queue",
    "pool": "get pools",
    "pools": "get pools",
    "workers": "get workers",
    "failed": "get jobs --state failed",
    "failures": "get jobs --state failed",
    "dead-letters": "get jobs --state failed",
    "requeue": "replay",
    "retry": "replay",
    "delete": "purge",
    "kill": "cancel",
    "revoke": "cancel",
    "enqueue": "submit",
}


class Group(click.Group):
    """Command group that suggests commands of a similar name or of the same purpose."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name. Raises UsageError with suggestions."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx))
            if ctx.parent is None and args[0] in EQUIVALENTS:
                near = [EQUIVALENTS[args[0]]]
            if not near:
                raise
            raise click.UsageError(f"No such command {args[0]!r}; did you mean {' or '.join(near)}?", ctx) from error
