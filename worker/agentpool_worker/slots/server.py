"""Load of the model server behind a handler, from the metrics that the server exports for Prometheus.

vLLM, SGLang, Text Generation Inference and llama.cpp are known by the names of their metrics. A server that does not
answer has no reading, never a reading of zero. `agentpool_worker.slots.adaptive` decides by the readings.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

LONGEST_ANSWER_SECONDS = 1.0
MOST_BYTES = 4 * 2**20  # of an answer; vLLM's metrics have some hundred kilobytes
WAITING = frozenset(
    {"vllm:num_requests_waiting", "sglang:num_queue_reqs", "tgi_queue_size", "llamacpp:requests_deferred"}
)
CACHE = frozenset(
    {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerReading:
    """A model server at a moment."""

    waiting: float | None  # requests that wait inside the server, over all models; None: not exported
    cache: float | None  # share of the KV cache in use, 0 to 1, of the fullest model; None: not exported


class ServerReader:
    """Reads the metrics of one server. Used from one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._is_silent = False  # the last reading failed

    async def read(self) -> ServerReading | None:
        """Return a reading; None while the server gives none."""
        try:
            reading = parse(await self._fetch())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._note_silence(f"{type(error).__name__}: {error}")
            return None
        if reading is None:
            self._note_silence("no metric of vLLM, SGLang, TGI or llama.cpp")
        else:
            self._is_silent = False
        return reading

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def _fetch(self) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST_ANSWER_SECONDS))
        async with self._session.get(self._url, allow_redirects=False, raise_for_status=True) as response:
            return (await response.content.read(MOST_BYTES)).decode(errors="replace")

    def _note_silence(self, reason: str) -> None:
        if not self._is_silent:
            log.warning("AGENTPOOL_SERVER_METRICS: no reading from %s, trying again: %s", self._url, reason)
        self._is_silent = True


def parse(text: str) -> ServerReading | None:
    """Return the reading of an exposition; None without a known metric. Raises ValueError for a broken value."""
    waiting = [value for name, value in _values(text) if name in WAITING]
    cache = [value for name, value in _values(text) if name in CACHE]
    if not waiting and not cache:
        return None
    return ServerReading(waiting=sum(waiting) if waiting else None, cache=max(cache, default=None))


def _values(text: str) -> Iterator[tuple[str, float]]:
    """Yield the known samples: `name{labels} value`, with or without labels and a time."""
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in WAITING or name in CACHE:
            rest = line[line.rfind("}") + 1 :] if "{" in line else line[len(name) :]
            yield name, float(rest.split()[0])
