"""Run the control loops of any cluster: `python -m agentpool_devcluster.controllers --kubeconfig FILE`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from agentpool_devcluster.controllers.suite import ControllerSuite
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.errors import KubeError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.tasks import cancel_and_wait


@click.command()
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="KUBECONFIG",
    required=True,
    help="The cluster to control.",
)
def main(kubeconfig: Path) -> None:
    """Run deployments, replica sets, stateful sets, budgets, scheduling and node care until interrupted."""
    try:
        asyncio.run(_run(kubeconfig))
    except (OSError, KubeError) as error:
        raise click.ClickException(str(error)) from error


async def _run(kubeconfig: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with KubeClient(read_kubeconfig(kubeconfig), user_agent="agentpool-controllers") as client:
        suite = asyncio.create_task(ControllerSuite(client).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({suite, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if suite.done():
            suite.result()
        await cancel_and_wait(suite)


if __name__ == "__main__":
    main()
