"""A whole cluster: API server, controllers and nodes, connected through a kubeconfig.

The parts are independent: controllers and nodes find the server through the kubeconfig like any client. After a stop no
process, port or file is left.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agentpool_devcluster.api.http.server import ApiServer, ServerSettings
from agentpool_devcluster.api.kubeconfig import write_kubeconfig
from agentpool_devcluster.controllers.node_health import Patience
from agentpool_devcluster.controllers.suite import ControllerSuite
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.tasks import cancel_and_wait
from agentpool_devcluster.node.agent import NodeAgent
from agentpool_devcluster.node.specification import parse_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_log = logging.getLogger(__name__)

DEFAULT_NODE = "node-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSettings:
    """Settings of a devcluster."""

    kubeconfig: Path  # written at start, removed at stop
    host: str = "127.0.0.1"  # address the API server listens on
    port: int = 0  # 0 chooses a free port
    uid: str | None = None  # of the namespace kube-system; None: random
    nodes: Sequence[str] = (DEFAULT_NODE,)  # as the command line describes them
    images: Mapping[str, Path] = field(default_factory=dict)  # directory by image name
    record: Path | None = None  # file that gets a line for each API request; None for no record
    patience: Patience = field(default_factory=Patience)  # with lost nodes


class Cluster:
    """A devcluster; an async context manager."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._controllers: asyncio.Task[None] | None = None

    @property
    def kubeconfig(self) -> Path:
        """Return the path of the kubeconfig for clients of this cluster."""
        return self._settings.kubeconfig

    async def start(self) -> None:
        """Start everything. Raises OSError, KubeError or NodeError, with nothing left running."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, stack = self._settings, self._stack
        state_dir = Path(tempfile.mkdtemp(prefix="agentpool-devcluster-"))
        stack.callback(shutil.rmtree, state_dir, ignore_errors=True)
        nodes = [parse_node(text, state_dir=state_dir, images=settings.images) for text in settings.nodes]
        server = await stack.enter_async_context(
            ApiServer(ServerSettings(host=settings.host, port=settings.port, uid=settings.uid, record=settings.record))
        )
        write_kubeconfig(settings.kubeconfig, server.admin_url, server.tokens.admin_token)
        stack.callback(settings.kubeconfig.unlink, missing_ok=True)
        access = read_kubeconfig(settings.kubeconfig)
        node_client = await stack.enter_async_context(KubeClient(access, user_agent="agentpool-node"))
        agents = [NodeAgent(node_client, one) for one in nodes]
        for agent in agents:
            stack.push_async_callback(agent.stop)
        client = await stack.enter_async_context(KubeClient(access, user_agent="agentpool-controllers"))
        suite = ControllerSuite(client, patience=settings.patience)
        self._controllers = asyncio.create_task(suite.run(), name="controllers")
        # Entered last, left first: nothing is replaced while the nodes go down.
        stack.push_async_callback(cancel_and_wait, self._controllers)
        await asyncio.gather(*(agent.start() for agent in agents))

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set, or until a control loop fails, and raise its error."""
        if self._controllers is None:
            return
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, self._controllers}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._controllers.done():
            self._controllers.result()

    async def stop(self) -> None:
        """Stop everything and leave nothing behind."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
