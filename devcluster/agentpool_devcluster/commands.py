"""The command `agentpool devcluster`: a small Kubernetes cluster that runs until interrupted.

Reads the command line only; `cluster` builds server, controllers and nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agentpool_devcluster.cluster import ClusterSettings

_FILE = click.Path(path_type=Path, dir_okay=False)


def _image(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for text in values:
        name, equals, directory = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} has no '='; write NAME=DIR")
        path = Path(directory).expanduser().resolve()
        if not path.is_dir():
            raise click.BadParameter(f"image {name!r}: {directory!r} is no directory")
        images[name] = path
    return images


EPILOG = """\b
Examples:
  agentpool devcluster
  agentpool devcluster --node gpu-1,cpu=8,nvidia.com/gpu=2 --image my/agents=./my-agents

\b
Exit codes: 0 stopped, 1 failed, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option(
    "--kubeconfig", type=_FILE, default=Path("devcluster.kubeconfig"), show_default=True, help="File to write."
)
@click.option(
    "--node", "nodes", multiple=True, default=("node-1",), show_default=True,
    metavar="NAME[,RESOURCE=QUANTITY…]",
    help="A node, e.g. gpu-1,cpu=8,nvidia.com/gpu=2,label:zone=a. May be repeated.",
)  # fmt: skip
@click.option(
    "--image", "images", multiple=True, callback=_image, metavar="NAME=DIR",
    help="Run containers of this image in that directory. May be repeated.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the API server listens on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True,
    help="Port of the API server; 0: any free port.",
)  # fmt: skip
@click.option("--uid", help="Uid of the namespace kube-system, by which clients recognise a cluster; default: random.")
@click.option("--record", type=_FILE, help="File that gets one line for each API request.")
def devcluster(
    *,
    kubeconfig: Path,
    nodes: Sequence[str],
    images: dict[str, Path],
    host: str,
    port: int,
    uid: str | None,
    record: Path | None,
) -> None:
    """Run a small Kubernetes on this machine: pods are processes.

    Needs no Docker. Prints the path of a kubeconfig when the cluster is ready. Ctrl-C stops it and leaves nothing
    behind.
    """
    from agentpool_devcluster.api.http.server import ListenError
    from agentpool_devcluster.cluster import ClusterSettings
    from agentpool_devcluster.kube.errors import KubeError
    from agentpool_devcluster.node.errors import NodeError

    settings = ClusterSettings(
        kubeconfig=kubeconfig.resolve(),
        host=host,
        port=port,
        uid=uid,
        nodes=tuple(nodes),
        images=images,
        record=record,
    )
    try:
        asyncio.run(_run(settings))
    except (KubeError, NodeError) as error:
        raise click.ClickException(str(error)) from error
    except ListenError as error:
        remedy = "choose a different address or port, or 0 for any free port"
        raise click.BadParameter(f"{error}; {remedy}", param_hint="'--port'") from error
    except OSError as error:
        words = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        raise click.ClickException(words) from error


async def _run(settings: ClusterSettings) -> None:
    from agentpool_devcluster.cluster import Cluster

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with Cluster(settings) as cluster:
        click.echo(f"export KUBECONFIG={cluster.kubeconfig}")
        await cluster.wait(stop)
