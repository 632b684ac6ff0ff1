"""The three probes of a running container, and their effect: started, ready, or to be restarted.

As with the kubelet, each failed probe is a warning; an ending container is still probed for readiness, and no more for
startup and liveness.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.node.probes import Prober, ProbeSpec, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from agentpool_devcluster.node.container_state import ContainerRecord
    from agentpool_devcluster.node.process import Launch


class ContainerProbes:
    """Probes of a run. `failed` is set when the container must be ended."""

    def __init__(
        self,
        container: Mapping[str, Any],
        record: ContainerRecord,
        *,
        on_change: Callable[[], None],
        on_event: Callable[[str, str, str], None],
    ) -> None:
        self.failed = asyncio.Event()
        self.failed_kind = ""  # startup or liveness
        self.failed_grace: float | None = None  # seconds the probe grants the container to end; None is the pod's own
        self._container = container
        self._record = record
        self._on_change = on_change
        self._on_event = on_event
        self._fatal: asyncio.Task[None] | None = None  # the running liveness or startup probe
        self._ending = False

    async def run(self, prober: Prober, launch: Launch) -> None:
        """Probe until cancelled: startup first, then readiness and liveness."""
        startup = ProbeSpec.of(self._container, "startupProbe")
        if startup is not None:
            await self._run_fatal(self._until_started(startup, prober, launch))
            if self.failed.is_set() or self._ending:
                return
        readiness = ProbeSpec.of(self._container, "readinessProbe")
        self._record.started = True
        self._record.ready = readiness is None
        self._on_change()
        liveness = ProbeSpec.of(self._container, "livenessProbe")
        async with asyncio.TaskGroup() as group:
            if readiness is not None:
                group.create_task(self._keep_ready(readiness, prober, launch))
            if liveness is not None:
                group.create_task(self._run_fatal(self._keep_alive(liveness, prober, launch)))

    def keep_readiness_only(self) -> None:
        """End the startup and liveness probes: the container ends anyway."""
        self._ending = True
        if self._fatal is not None:
            self._fatal.cancel()

    async def _run_fatal(self, probe: Coroutine[Any, Any, None]) -> None:
        """Run a liveness probe until the container ends; a failure ends the container."""
        self._fatal = asyncio.create_task(probe)
        if self._ending:
            self._fatal.cancel()
        try:
            await self._fatal
        except asyncio.CancelledError:
            if not self._ending:
                raise

    async def _until_started(self, spec: ProbeSpec, prober: Prober, launch: Launch) -> None:
        def on_answer(problem: str | None, verdict: bool | None) -> bool:  # noqa: FBT001 - a callback's answer
            self._tell("Startup", problem)
            if verdict is False:
                self._fail("startup", spec)
            return verdict is None

        await watch(
            spec,
            lambda: prober.check(spec, self._container, launch),
            impatient=False,
            on_answer=on_answer,
        )

    async def _keep_ready(self, spec: ProbeSpec, prober: Prober, launch: Launch) -> None:
        def on_answer(problem: str | None, verdict: bool | None) -> bool:  # noqa: FBT001 - a callback's answer
            if verdict is not None and verdict != self._record.ready:
                self._record.ready = verdict
                self._on_change()
            self._tell("Readiness", problem)
            return True

        await watch(
            spec,
            lambda: prober.check(spec, self._container, launch),
            impatient=True,
            on_answer=on_answer,
        )

    async def _keep_alive(self, spec: ProbeSpec, prober: Prober, launch: Launch) -> None:
        def on_answer(problem: str | None, verdict: bool | None) -> bool:  # noqa: FBT001 - a callback's answer
            self._tell("Liveness", problem)
            if verdict is False:
                self._fail("liveness", spec)
            return verdict is not False

        await watch(
            spec,
            lambda: prober.check(spec, self._container, launch),
            impatient=False,
            on_answer=on_answer,
        )

    def _fail(self, kind: str, spec: ProbeSpec) -> None:
        self.failed_kind = kind
        self.failed_grace = spec.grace_seconds
        self.failed.set()

    def _tell(self, kind: str, problem: str | None) -> None:
        if problem is not None:
            self._on_event("Warning", "Unhealthy", f"{kind} probe failed: {problem}")
