"""`agentpool worker`: run jobs of a pool; `agentpool schemas`: print the schemas of a program's models.

In a pod everything comes from the environment; by hand, flags override the environment. Heavy imports wait until the
worker has a separate process, beside the supervisor. `agentpool_worker.supervision.supervisor` takes over next, and
in the worker's process `agentpool_worker.runner`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.start import release_signals
from agentpool_worker.naming import own_name
from agentpool_worker.supervision import supervisor
from agentpool_worker.supervision.probe_socket import probe_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from agentpool_worker.handlers import HandlerSet
    from agentpool_worker.settings import WorkerSettings


EPILOG = """\b
Examples:
  agentpool worker my_agents:app --redis redis://localhost:6379/0 --pool default/my-pool
  agentpool worker --handler-command ./agent.sh --concurrency 4
  agentpool worker my_agents:app --reload

\b
Exit codes: 0 drained after SIGTERM or Ctrl-C, 1 failed, 2 wrong usage, 70 a failure of the worker itself,
75 a restart is requested, 128+N ended repeatedly by signal N."""


@click.command(epilog=EPILOG)
@click.argument("app", required=False)
@click.option("--redis", "redis_url", metavar="URL", help="Redis of the queue [AGENTPOOL_REDIS_URL, else REDIS_URL].")
@click.option("--pool", metavar="[NAMESPACE/]NAME", help="Pool of the jobs to run [AGENTPOOL_POOL].")
@click.option("--worker", "worker_id", metavar="NAME", help="Unique name of this worker [AGENTPOOL_WORKER].")
@click.option("--concurrency", type=int, help="Jobs at once; overrides the pool's setting.")
@click.option("--drain-seconds", type=float, help="Drain time after SIGTERM; overrides the pool's setting.")
@click.option("--handler-command", metavar="COMMAND", help="Run this program for each job: JSON in, JSON out.")
@click.option(
    "--pass-env", multiple=True, metavar="NAME", help="Variable to pass to the program, or a pattern: NAME_*."
)
@click.option("--handler-http", metavar="URL", help="POST each job to this URL.")
@click.option("--http-host", metavar="ADDRESS", help="Address of probes and metrics [AGENTPOOL_HTTP_HOST].")
@click.option("--http-port", type=int, help="Port of probes and metrics; 0: any free port [AGENTPOOL_HTTP_PORT].")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="Default: json, or text on a terminal.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[AGENTPOOL_LOG_LEVEL]")
@click.option("--reload", "reloading", is_flag=True, help="Restart when a .py file here changes (development).")
def worker(app: str | None, *, reloading: bool, **flags: Any) -> None:
    """Run jobs of one pool until SIGTERM, then drain.

    APP is module:attribute of an agentpool_worker.App. Without APP and without --handler-…, AGENTPOOL_HANDLER (the
    JSON of spec.handler) says what runs the jobs.
    """
    if reloading:
        from agentpool_worker.reload import run_reloading

        release_signals()
        arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
        sys.exit(run_reloading(arguments, Path.cwd()))
    # A restarted worker has the name of its predecessor and releases the predecessor's jobs.
    flags["worker_id"] = flags["worker_id"] or os.environ.get("AGENTPOOL_WORKER") or own_name()
    listening = probe_socket(flags, os.environ)
    if supervisor.is_wanted():
        code = supervisor.supervise(lambda line: _report(line, flags), listening)
        if code is not None:
            sys.exit(code)
    else:
        signal.signal(signal.SIGTERM, supervisor.leave_before_serving)
        release_signals()
    sys.exit(_run(app, flags, listening))


def _run(app: str | None, flags: dict[str, Any], listening: socket.socket | None) -> int:
    """Run the worker in this process; return its exit code."""
    from agentpool_worker.guards.forks import guard_signals

    guard_signals()
    from agentpool_core.process import logs
    from agentpool_worker.runner import run_process
    from agentpool_worker.worker import Worker

    command, url, pass_env = flags.pop("handler_command"), flags.pop("handler_http"), flags.pop("pass_env")
    settings = _settings(flags, by_hand=bool(app or command or url))
    logs.configure(form=settings.log_format, level=settings.log_level)
    served = Worker(_handlers(app, command, url, pass_env, settings), settings, listening=listening)
    code = run_process(served)
    if served.complaint is not None:  # the last line, which the pool's status repeats
        click.echo(f"error: {served.complaint}", err=True)
    return code


def _report(line: str, flags: dict[str, Any]) -> None:
    """Log a line of the supervisor's, in the worker's form."""
    import logging

    from agentpool_core.process import logs

    form = flags["log_format"] or os.environ.get("AGENTPOOL_LOG_FORMAT") or "json"
    logs.configure(form=form, level="info")
    logging.getLogger(supervisor.__name__).warning(line)


def _settings(flags: dict[str, Any], *, by_hand: bool) -> WorkerSettings:
    from agentpool_worker.settings import settings_from

    flags["worker"] = flags.pop("worker_id")
    if flags["log_format"] is None and sys.stderr.isatty():
        flags["log_format"] = "text"
    return settings_from(os.environ, publish_defaults=by_hand or None, **flags)


def _handlers(
    app: str | None, command: str | None, url: str | None, pass_env: Sequence[str], settings: WorkerSettings
) -> HandlerSet:
    from agentpool_core.errors import SettingError
    from agentpool_worker.handlers import selection

    given = [text for text in (app, command, url) if text is not None]
    if len(given) > 1:
        names, problem = "APP, --handler-command, --handler-http", "several handlers are given"
        raise SettingError(field=names, value=given, problem=problem, remedy="keep a single handler")
    if app is not None:
        return selection.from_app(app)
    if command is not None:
        selection.check_passed(pass_env)
        return selection.from_argv(
            selection.split_command(command), pass_env=pass_env, output_seconds=settings.output_seconds
        )
    if url is not None:
        return selection.from_url(url)
    if settings.handler is None:
        raise SettingError(
            field="APP (AGENTPOOL_HANDLER)",
            value=None,
            problem="no handler is given",
            remedy="name an App, for example: agentpool worker my_agents:app",
        )
    return selection.from_spec(
        settings.handler, field="AGENTPOOL_HANDLER", port=settings.handler_port, output_seconds=settings.output_seconds
    )


SCHEMAS_EPILOG = """\b
Examples:
  agentpool schemas my_agents:app                                      into spec of an AgentPool
  agentpool schemas my_agents:app -o json

\b
Exit codes: 0 printed, 1 failed, 2 wrong usage."""


@click.command(epilog=SCHEMAS_EPILOG)
@click.argument("app")
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def schemas(app: str, *, form: str) -> None:
    """Print the kinds of an App and the schemas of its models.

    APP is module:attribute of an agentpool_worker.App. The output is spec.routes of an AgentPool: with it, every
    submit of a payload that does not fit a handler's pydantic model is refused.
    """
    import json

    import yaml

    from agentpool_worker.handlers.app import load
    from agentpool_worker.handlers.models import routes_of

    found = load(app)
    document = {"routes": routes_of(found.kinds, found.schemas())}
    click.echo(json.dumps(document) if form == "json" else yaml.safe_dump(document, sort_keys=False), nl=form == "json")
