"""`agentpool operator`: flags and environment variables, then the process.

Every flag has a variable, `AGENTPOOL_OPERATOR_<FLAG>`, which the chart sets. `process` takes over next.
"""

from __future__ import annotations

from pathlib import Path

import click

from agentpool_core.process.sockets import EVERYWHERE
from agentpool_operator.settings import WORKER_IMAGE

EPILOG = """\b
Examples:
  agentpool operator --kubeconfig ~/.kube/config --no-leader-elect
  agentpool operator --namespace research --namespace production

\b
Exit codes: 0 stopped, 1 failed, 2 wrong usage."""


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "AGENTPOOL_OPERATOR"})
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE",
    help="Namespace to watch; may be repeated. Without it: all namespaces.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Kubeconfig file. Without it: KUBECONFIG, ~/.kube/config, or the pod's service account.",
)
@click.option(
    "--health-host",
    default=EVERYWHERE,
    show_default=True,
    help="Address of the HTTP endpoints; :: is all of IPv6 and IPv4.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=8081,
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0: any free port.",
)
@click.option(
    "--worker-image",
    default=WORKER_IMAGE,
    show_default=True,
    help="Image for pools without an image in their template.",
)
@click.option(
    "--image-pull-secret",
    "image_pull_secrets",
    multiple=True,
    metavar="NAME",
    help="Secret of a pool's namespace for pulling images, in templates without imagePullSecrets; may be repeated.",
)
@click.option("--leader-elect/--no-leader-elect", default=True, show_default=True, help="Elect one leader by a Lease.")
@click.option(
    "--lease-namespace", default=None, help="Namespace of the Lease. Without it: the pod's own, else default."
)
@click.option("--lease-name", default="agentpool-operator", show_default=True, help="Name of the Lease.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of log lines.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Lowest level of the log.",
)
def operator(
    *,
    namespaces: tuple[str, ...],
    kubeconfig: Path | None,
    health_host: str,
    health_port: int,
    worker_image: str,
    image_pull_secrets: tuple[str, ...],
    leader_elect: bool,
    lease_namespace: str | None,
    lease_name: str,
    log_format: str,
    log_level: str,
) -> None:
    """Watch AgentPools, and give each just enough workers."""
    import asyncio

    from agentpool_core.process import logs
    from agentpool_operator.process import run
    from agentpool_operator.settings import ElectionSettings, OperatorSettings, own_namespace, own_pod

    logs.configure(form=log_format, level=log_level)
    namespace = lease_namespace or own_namespace()
    pod = own_pod() if namespace == own_namespace() else None  # an owner is in the same namespace
    election = ElectionSettings(enabled=leader_elect, namespace=namespace, name=lease_name, pod=pod)
    asyncio.run(
        run(
            OperatorSettings(
                namespaces=namespaces,
                kubeconfig=kubeconfig,
                health_host=health_host,
                health_port=health_port,
                worker_image=worker_image,
                image_pull_secrets=image_pull_secrets,
                election=election,
            )
        )
    )
