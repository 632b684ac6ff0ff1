"""`agentpool gateway` serves the HTTP API until SIGTERM, and lets open requests end; `agentpool mcp` serves a program.

Access is by static tokens or by Kubernetes' reviews; access without authentication needs an explicit option.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import run
from agentpool_core.cli.output import EXIT_CODES
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.errors import SettingError

if TYPE_CHECKING:
    from agentpool_gateway.options import GatewayOptions

EPILOG = """\b
Examples:
  agentpool gateway --redis redis://localhost:6379/0 --tokens tokens.yaml
  agentpool gateway --kubeconfig ~/.kube/config --auth kubernetes
  agentpool gateway --redis redis://localhost:6379/0 --no-auth         a laptop

Exit codes: 0 stopped, 1 failed, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option(
    "--redis",
    metavar="URL",
    envvar="AGENTPOOL_REDIS_URL",
    help="Redis of all pools. Default: the Redis of each AgentPool.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="Kubeconfig of the cluster. With --redis: for scaling only. Default: as kubectl, or the pod's account.",
)
@click.option(
    "--namespace", multiple=True, metavar="NAME", help="Serve the pools of this namespace only; may be repeated."
)
@click.option("--tokens", type=click.Path(path_type=Path), envvar="AGENTPOOL_TOKENS", help="File of static tokens.")
@click.option("--auth", type=click.Choice(["tokens", "kubernetes"]), help="Permissions. Default: tokens if given.")
@click.option("--audience", multiple=True, help="Audience that tokens must carry, with --auth kubernetes.")
@click.option("--no-auth", is_flag=True, help="No authentication. For a laptop; only on a loopback address.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8088, show_default=True, help="0: any free port.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Port of /metrics, which names the pools of all tenants and asks for no token. Default: no metrics.",
)
@click.option("--max-body", type=click.IntRange(min=1), help="Largest request, in bytes.")
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, help="Requests per second and caller. 0: no limit.")
@click.option(
    "--burst", type=click.IntRange(min=1), default=100, show_default=True, help="Requests at once, with --rate."
)
@click.option("--external-url", metavar="URL", help="External address for callers, such as https://agents.example.org.")
@click.option(
    "--trusted-proxies",
    multiple=True,
    metavar="NETWORK",
    help="Trusted proxies for X-Forwarded headers, such as 10.0.0.0/8; may be repeated. Default: none.",
)
@click.option(
    "--allowed-host", multiple=True, metavar="NAME", help="Accepted host name with --no-auth; may be repeated."
)
@click.option(
    "--cors-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Web pages of this origin may use the API, such as https://app.example.org; may be repeated. Default: none.",
)
@click.option(
    "--webhook-host",
    multiple=True,
    metavar="HOST",
    help="Jobs may have webhooks to this host, or below *.example.org; may be repeated. Default: no webhooks.",
)
@click.option(
    "--webhook-network",
    multiple=True,
    metavar="NETWORK",
    help="Private network in which receivers of webhooks may be, also without TLS; may be repeated. Default: none.",
)
@click.option(
    "--webhook-keys",
    type=click.Path(path_type=Path),
    envvar="AGENTPOOL_WEBHOOK_KEYS",
    help="File of keys that sign webhooks, one in a line, the newest first.",
)
@click.option(
    "--a2a-card-key",
    type=click.Path(path_type=Path),
    envvar="AGENTPOOL_A2A_CARD_KEY",
    help="File of the EC key (P-256, PEM) that signs agent cards. Default: cards are not signed.",
)
@click.option(
    "--grafana-url",
    metavar="URL",
    help="Dashboard of the pools in Grafana, to which the console links: https://grafana.example.org/d/UID.",
)
@click.option(
    "--recheck",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between checks of the token of an open stream.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Time after SIGTERM in which requests are still served, while /readyz fails.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Format of log lines.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def gateway(**options: object) -> None:
    """Serve the HTTP API: submit, watch, cancel and replay jobs."""
    from agentpool_gateway.listeners import open_listeners
    from agentpool_gateway.options import GatewayOptions

    chosen = GatewayOptions(**options)  # type: ignore[arg-type]  # click has checked each by its option's type
    _check(chosen)
    with open_listeners(chosen) as (listener, beside):
        from agentpool_gateway.server import serve  # imports the app, which takes seconds on a busy machine

        serve(chosen, listener, beside)


MCP_EPILOG = (
    """\b
Examples:
  agentpool mcp --pool research/analysts
  agentpool mcp --pool research/analysts --read-only

An agent program starts the command; docs/submit.md shows its configuration. The
gateway serves the same tools over HTTP, with tokens."""
    + EXIT_CODES
)


@click.command(epilog=MCP_EPILOG)
@pool_options
@click.option("--read-only", is_flag=True, help="Offer only the tools that change nothing.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning")
def mcp(*, target: Target, read_only: bool, log_level: str) -> None:
    """Serve a pool's tools to an agent program, by MCP.

    The Model Context Protocol goes over standard input and output.
    """
    from agentpool_core.process import logs
    from agentpool_gateway.mcp.stdio import serve_stdio

    async def serve() -> None:
        await serve_stdio(target.pool, await target.address(), read_only=read_only)

    logs.configure(form="text", level=log_level)
    run(serve())


def _check(options: GatewayOptions) -> None:
    if options.no_auth and (options.tokens or options.auth):
        raise click.UsageError("--no-auth disables authentication; leave out --tokens and --auth")
    if options.no_auth and options.host not in {"127.0.0.1", "::1", "localhost"}:
        raise SettingError(
            field="--host",
            value=options.host,
            problem="other machines could reach a gateway without authentication",
            remedy="listen on 127.0.0.1, or pass --tokens FILE or --auth kubernetes",
        )
    if bool(options.webhook_host) != bool(options.webhook_keys):
        raise click.UsageError("--webhook-host and --webhook-keys need each other")
    if not options.no_auth and not options.tokens and options.auth != "kubernetes":
        raise SettingError(
            field="--tokens",
            value=None,
            problem="every request would be refused",
            remedy="pass --tokens FILE, --auth kubernetes, or --no-auth on a laptop",
        )
