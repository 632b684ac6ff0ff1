"""Run a node of any Kubernetes cluster: `python -m agentpool_devcluster.node --kubeconfig FILE --node NAME`."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.errors import KubeError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.node.agent import NodeAgent
from agentpool_devcluster.node.errors import NodeError
from agentpool_devcluster.node.specification import FORM, parse_node

if TYPE_CHECKING:
    from agentpool_devcluster.node.settings import NodeSettings

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.option("--kubeconfig", type=_FILE, envvar="KUBECONFIG", required=True, help="The cluster to join.")
@click.option("--node", "text", default="node-1", show_default=True, metavar=FORM, help="What this node is.")
@click.option("--image", "images", multiple=True, metavar="NAME=DIR", help="Run this image in that directory.")
@click.option("--tls-certificate", type=_FILE, help="PEM file with certificate and key, to serve logs over TLS.")
def main(kubeconfig: Path, text: str, images: tuple[str, ...], tls_certificate: Path | None) -> None:
    """Run a node until interrupted; containers are processes of this machine."""
    mapped = {name: Path(directory).resolve() for name, _, directory in (image.partition("=") for image in images)}
    try:
        with tempfile.TemporaryDirectory(prefix="agentpool-node-", ignore_cleanup_errors=True) as folder:
            settings = parse_node(text, state_dir=Path(folder), images=mapped)
            asyncio.run(_run(kubeconfig, replace(settings, tls_certificate=tls_certificate)))
    except (OSError, KubeError, NodeError) as error:
        raise click.ClickException(str(error)) from error


async def _run(kubeconfig: Path, settings: NodeSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with KubeClient(read_kubeconfig(kubeconfig), user_agent="agentpool-node") as client:
        agent = NodeAgent(client, settings)
        await agent.start()
        try:
            click.echo(f"node {settings.name} is ready")
            await stop.wait()
        finally:
            await agent.stop()


if __name__ == "__main__":
    main()
