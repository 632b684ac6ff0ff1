"""The machines of a chaos run, as killable processes: `python -m tests.chaos.machines api|node …`.

An API server with controllers of short timeouts, or a node. The next module is `ground`, which starts them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from pathlib import Path

from agentpool_devcluster.cluster import Cluster, ClusterSettings
from agentpool_devcluster.controllers.node_health import Patience
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.node.agent import NodeAgent
from agentpool_devcluster.node.settings import RestartBackoff
from agentpool_devcluster.node.specification import parse_node

PATIENCE = Patience(grace_seconds=4.0, eviction_seconds=1.0)  # a lost node's pods are replaced within seconds
HEARTBEAT_SECONDS = 1.0
BACKOFF = RestartBackoff(initial_seconds=0.5, longest_seconds=2.0, reset_seconds=60.0)


async def _until_stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def api(kubeconfig: Path) -> None:
    async with Cluster(ClusterSettings(kubeconfig=kubeconfig, nodes=(), patience=PATIENCE)):
        await _until_stopped()


async def node(kubeconfig: Path, name: str, state: Path, image: Path) -> None:
    settings = parse_node(name, state_dir=state, images={"chaos": image})
    settings = replace(settings, heartbeat_seconds=HEARTBEAT_SECONDS, backoff=BACKOFF)
    async with KubeClient(read_kubeconfig(kubeconfig), user_agent="chaos-node") as client:
        agent = NodeAgent(client, settings)
        await agent.start()
        try:
            await _until_stopped()
        finally:
            await agent.stop()


def main() -> None:
    match sys.argv[1:]:
        case ["api", kubeconfig]:
            asyncio.run(api(Path(kubeconfig)))
        case ["node", kubeconfig, name, state, image]:
            asyncio.run(node(Path(kubeconfig), name, Path(state), Path(image)))
        case other:
            raise SystemExit(f"unknown machine: {other}")


if __name__ == "__main__":
    main()
