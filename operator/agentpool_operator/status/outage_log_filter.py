"""Report an outage of the API server in few lines: at its beginning, once a minute, and at the end.

During an outage every request fails, and each part logs the failure. `OutageLogFilter` drops repetitions of the outage
(passes them at debug level), and takes the first as the reason to probe the API server until it answers.
`process` installs the filter in the log's handlers and runs it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agentpool_core.errors import ClusterError, ClusterUnreachableError
from agentpool_core.kube.errors import BusyError, ForeignAnswerError
from agentpool_operator.cluster import NotLeadingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PROBE_SECONDS = 5.0  # between probes during an outage
REPORT_SECONDS = 60.0  # between lines about a continuing outage, or about failing single requests
UNREACHABLE = (ClusterUnreachableError, ForeignAnswerError)
NOTHING = (logging.NOTSET, "")
log = logging.getLogger(__name__)


class OutageLogFilter(logging.Filter):
    """The filter and the prober. `filter` is called in any thread."""

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._ask = ask  # raises an error of UNREACHABLE, or BusyError, while the API server is away
        self._loop = asyncio.get_running_loop()
        self._suspected = asyncio.Event()
        self._echo = NOTHING  # level and text of the most severe record dropped since the last line
        self._reported_at = float("-inf")  # seconds, monotonic: last line about single failures
        self.away = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record passes; a record that only repeats the outage does not."""
        causes = record.args if isinstance(record.args, tuple) and record.name != __name__ else ()
        if any(isinstance(cause, (*UNREACHABLE, BusyError)) for cause in causes):
            self._loop.call_soon_threadsafe(self._suspected.set)
        if not self._is_echo(causes):
            return True
        self._echo = max(self._echo, (record.levelno, record.getMessage()), key=lambda echo: echo[0])
        return logging.getLogger().isEnabledFor(logging.DEBUG)

    def _is_echo(self, causes: Sequence[object]) -> bool:
        if any(isinstance(cause, UNREACHABLE) for cause in causes):
            return True
        return self.away and any(isinstance(cause, BusyError | NotLeadingError) for cause in causes)

    async def run(self) -> None:
        """Probe after each suspicion of an outage, for ever."""
        while True:
            await self._suspected.wait()
            self._suspected.clear()
            began = time.monotonic()
            why = await self._why_away()
            if why:
                await self._follow_outage(why, began)
            elif self._echo != NOTHING and time.monotonic() - self._reported_at >= REPORT_SECONDS:
                self._reported_at = time.monotonic()
                (level, text), self._echo = self._echo, NOTHING
                log.log(level, "a request failed, though the API server answers; it is repeated: %s", text)

    async def _follow_outage(self, why: str, began: float) -> None:
        """Report the outage from its first line to its last; it was suspected when it `began`."""
        reported_at = began
        self.away = True
        log.warning("%s. Retrying every %g s. Pools keep their size until the API server answers.", why, PROBE_SECONDS)
        while why := await self._why_away():
            if time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at += REPORT_SECONDS
                log.warning("%s, for %d s now. Retrying every %g s.", why, time.monotonic() - began, PROBE_SECONDS)
            await asyncio.sleep(PROBE_SECONDS)
        self.away = False
        self._reported_at, self._echo = time.monotonic(), NOTHING  # requests that still fail were sent before
        log.warning("the API server answers, after %d s", self._reported_at - began)

    async def _why_away(self) -> str:
        """Return why the API server does not serve; empty = it serves, even by a refusal."""
        try:
            await self._ask()
        except (*UNREACHABLE, BusyError) as error:
            return error.detail
        except ClusterError:
            pass
        return ""
