"""Probes of a container: httpGet, tcpSocket and exec, and their thresholds.

`check` probes once; `Thresholds` turns results into a verdict (pure); `watch` probes while the container runs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from agentpool_devcluster.node.errors import StartError
from agentpool_devcluster.node.process import Launch, run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_LOOK_SECONDS = 0.05  # between probes of a container that was never ready, growing up to the period
_OK_FROM, _OK_BELOW = 200, 400  # HTTP statuses that count as success


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSpec:
    """A probe, with Kubernetes' defaults."""

    handler: Mapping[str, Any]  # httpGet, tcpSocket or exec
    initial_delay_seconds: float = 0
    period_seconds: float = 10
    timeout_seconds: float = 1
    success_threshold: int = 1  # successes in a row
    failure_threshold: int = 3  # failures in a row
    grace_seconds: float | None = None  # for an end caused by this probe; None uses the pod's own

    @classmethod
    def of(cls, container: Mapping[str, Any], field: str) -> ProbeSpec | None:
        """Return the container's probe of that field, or None."""
        probe = container.get(field)
        if not probe:
            return None
        return cls(
            handler=probe,
            initial_delay_seconds=float(probe.get("initialDelaySeconds") or 0),
            period_seconds=float(probe.get("periodSeconds") or 10),
            timeout_seconds=float(probe.get("timeoutSeconds") or 1),
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
            grace_seconds=probe.get("terminationGracePeriodSeconds"),
        )


@dataclass(kw_only=True, slots=True)
class Thresholds:
    """Answers in a row, and the verdict they amount to."""

    spec: ProbeSpec
    verdict: bool | None = None  # None until a threshold was reached
    _answer: bool | None = None
    _row: int = 0

    def count(self, *, success: bool) -> bool | None:
        """Return the verdict after a further result."""
        self._row = self._row + 1 if success == self._answer else 1
        self._answer = success
        needed = self.spec.success_threshold if success else self.spec.failure_threshold
        if self._row >= needed:
            self.verdict = success
        return self.verdict


class Prober:
    """Probes the containers of a pod."""

    def __init__(self, session: aiohttp.ClientSession, pod_ip: str) -> None:
        self._session = session
        self._pod_ip = pod_ip

    async def check(self, spec: ProbeSpec, container: Mapping[str, Any], launch: Launch) -> str | None:
        """Probe once: return None for success, else the problem."""
        try:
            async with asyncio.timeout(spec.timeout_seconds):
                return await self.ask(spec.handler, container, launch, spec.timeout_seconds)
        except TimeoutError:
            return f"no answer within {spec.timeout_seconds:g} s"

    async def ask(
        self, handler: Mapping[str, Any], container: Mapping[str, Any], launch: Launch, timeout_seconds: float
    ) -> str | None:
        """Run the handler of a probe or a hook: return None for success, else the problem."""
        if "httpGet" in handler:
            return await self._http(handler["httpGet"], container)
        if "tcpSocket" in handler:
            return await self._tcp(handler["tcpSocket"], container)
        if "exec" in handler:
            return await _exec(handler["exec"], launch, timeout_seconds)
        return f"{', '.join(handler)} is not supported by this node"

    async def _http(self, get: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
        host = get.get("host") or self._pod_ip
        scheme = str(get.get("scheme") or "HTTP").lower()
        path = "/" + str(get.get("path") or "/").lstrip("/")
        url = f"{scheme}://{host}:{port_number(get['port'], container)}{path}"
        headers = {"User-Agent": "kube-probe", "Connection": "close"}
        headers |= {header["name"]: header["value"] for header in get.get("httpHeaders") or ()}
        try:
            async with self._session.get(url, headers=headers, ssl=False, allow_redirects=False) as response:
                if _OK_FROM <= response.status < _OK_BELOW:
                    return None
                return f"HTTP probe failed with statuscode: {response.status}"
        except (aiohttp.ClientError, OSError) as error:
            return f'Get "{url}": {error}'

    async def _tcp(self, tcp: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
        host, port = tcp.get("host") or self._pod_ip, port_number(tcp["port"], container)
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return f"dial tcp {host}:{port}: {error.strerror or error}"
        writer.close()
        return None


async def _exec(action: Mapping[str, Any], launch: Launch, timeout_seconds: float) -> str | None:
    try:
        code, output = await run_command(launch, action.get("command") or (), timeout_seconds)
    except StartError as error:
        return str(error)
    return None if code == 0 else (output.strip() or f"command exited with {code}")


def port_number(port: Any, container: Mapping[str, Any]) -> int:
    """Return the port given as a number or by its declared name. Raises ValueError."""
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    return int(port)


async def watch(
    spec: ProbeSpec,
    ask: Callable[[], Any],
    *,
    impatient: bool,
    on_answer: Callable[[str | None, bool | None], bool],
) -> None:
    """Probe while `on_answer` returns True; the callback gets each problem (None for success) and the verdict so far.

    `impatient` probes more often until the first success, so success is noticed earlier.
    """
    thresholds = Thresholds(spec=spec)
    await asyncio.sleep(spec.initial_delay_seconds)
    pause = FIRST_LOOK_SECONDS if impatient else spec.period_seconds
    while True:
        problem: str | None = await ask()
        if not on_answer(problem, thresholds.count(success=problem is None)):
            return
        if problem is None:
            impatient = False
        pause = min(pause * 2, spec.period_seconds) if impatient else spec.period_seconds
        await asyncio.sleep(pause)
