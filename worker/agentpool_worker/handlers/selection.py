"""Build the handler from the description (`spec.handler`, or a flag).

`agentpool_worker.worker` starts it.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from pydantic import ValidationError

from agentpool_core.errors import SettingError
from agentpool_core.spec.worker import VARIABLES_PATTERN, Handler
from agentpool_worker.settings import OUTPUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.handlers import HandlerSet

_REMEDY = 'give one of {"python": {"app": "module:app"}}, {"http": {"port": 9000}}, {"command": {"argv": ["./agent"]}}'


def from_spec(text: str, *, field: str, port: int | None = None, output_seconds: float = OUTPUT_SECONDS) -> HandlerSet:
    """Return the handlers of `spec.handler` as JSON; a `port` replaces the port of an HTTP handler.

    Raises SettingError, or HandlerError for an unusable app.
    """
    try:
        handler = Handler.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise SettingError(field=field, value=text, problem=problem, remedy=_REMEDY) from error
    given = [kind for kind in (handler.python, handler.http, handler.command) if kind is not None]
    if len(given) != 1:
        raise SettingError(field=field, value=text, problem="name exactly one handler", remedy=_REMEDY)
    if handler.python is not None:
        return from_app(handler.python.app)
    if handler.http is not None:
        return from_url(f"http://127.0.0.1:{port or handler.http.port}{handler.http.path}")
    if handler.command is None:
        raise SettingError(field=field, value=text, problem="name exactly one handler", remedy=_REMEDY)
    return from_argv(handler.command.argv, pass_env=handler.command.pass_env or (), output_seconds=output_seconds)


def check_passed(names: Sequence[str]) -> None:
    """Refuse the names that the schema of an AgentPool refuses in `passEnv`. Raises SettingError."""
    for name in names:
        if name.startswith("AGENTPOOL_"):
            problem, remedy = "a variable of the worker's own, which no job sees", "remove it"
        elif not re.fullmatch(VARIABLES_PATTERN, name):
            problem, remedy = "not the name of a variable", "write NAME, or NAME_* for a prefix"
        else:
            continue
        raise SettingError(field="--pass-env", value=name, problem=problem, remedy=remedy)


def from_app(reference: str) -> HandlerSet:
    """Return the functions of the App at `module:attribute`. Raises HandlerError."""
    from agentpool_worker.handlers.app import load

    return load(reference)


def from_url(url: str) -> HandlerSet:
    """Return handlers that send each job to this URL."""
    from agentpool_worker.handlers.http import HttpHandlers

    return HttpHandlers(url)


def from_argv(
    argv: Sequence[str], *, pass_env: Sequence[str] = (), output_seconds: float = OUTPUT_SECONDS
) -> HandlerSet:
    """Return handlers that run a process for each job."""
    from agentpool_worker.handlers.command import CommandHandlers

    return CommandHandlers(argv, pass_env=pass_env, output_seconds=output_seconds)


def split_command(text: str) -> list[str]:
    """Split a command line into words. Raises SettingError for an empty line or an open quote."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise SettingError(
            field="--handler-command", value=text, problem=str(error), remedy="close the quote"
        ) from error
    if not argv:
        raise SettingError(
            field="--handler-command", value=text, problem="it is empty", remedy='name a program: "python3 agent.py"'
        )
    return argv
