"""Metrics of a model server, and the decisions that follow them."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web

from agentpool_core.errors import SettingError
from agentpool_core.queue.settings import AdaptiveMode, PoolSettings
from agentpool_worker.settings import settings_from
from agentpool_worker.slots.adaptive import Controller
from agentpool_worker.slots.gpu import GpuReading
from agentpool_worker.slots.observation import Observation, Reason, Sample
from agentpool_worker.slots.server import ServerReader, ServerReading, parse

VLLM = """# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a b}"} 3.0
vllm:num_requests_waiting{engine="1",model_name="a b}"} 4.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
vllm:kv_cache_usage_perc_total{engine="1"} 9
"""
SETTINGS = PoolSettings(concurrency=8, adaptive_mode=AdaptiveMode.GPU, adaptive_max=64)
FULL_GPU = GpuReading(index=0, utilisation=0.9, memory_used_bytes=98, memory_total_bytes=100)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (VLLM, ServerReading(waiting=7.0, cache=0.5)),
        ("llamacpp:requests_deferred 2 1732790000\n", ServerReading(waiting=2.0, cache=None)),
        ("sglang:token_usage 0.28\nsglang:num_queue_reqs 0\n", ServerReading(waiting=0.0, cache=0.28)),
        ("process_open_fds 7\n", None),
    ],
)
def test_the_metrics_of_known_servers_are_read(text, reading):
    """Waiting requests are summed over engines, and the fullest cache counts; other metrics give no reading."""
    assert parse(text) == reading


def decided(*servers: ServerReading, samples=(), gpus=()):
    """The last decision after these readings, one a period, with all 8 slots in use."""
    controller, change = Controller(), None
    for period, server in enumerate(servers):
        seen = Observation(at=2.0 * period, slots=8, used=8, samples=samples, server=server, gpus=gpus)
        change = controller.decide(seen, SETTINGS)
    return None if change is None else (change.slots, change.reason)


def test_requests_that_wait_in_the_server_take_slots_away():
    """Two readings in a row with waiting requests give up as many slots; a single one may be a burst."""
    waiting = ServerReading(waiting=2.0, cache=0.5)
    assert decided(waiting) is None
    assert decided(waiting, waiting) == (6, Reason.SERVER)
    assert decided(ServerReading(waiting=None, cache=0.98)) == (7, Reason.SERVER)


def test_growth_ends_while_the_cache_is_nearly_full():
    """Jobs whose goodput asks for more slots get none while the cache has no room."""
    samples = [Sample(kind="work", seconds=1.0, concurrency=8.0)] * 20
    assert decided(ServerReading(waiting=0.0, cache=0.5), samples=samples) == (16, Reason.GOODPUT)
    assert decided(ServerReading(waiting=0.0, cache=0.92), samples=samples) is None


def test_the_memory_of_a_server_with_a_cache_does_not_count():
    """A server that takes the GPU's memory at its start would look like one that is about to fail."""
    samples = [Sample(kind="work", seconds=1.0, concurrency=8.0)] * 20
    room = ServerReading(waiting=0.0, cache=0.1)
    assert decided(room, samples=samples, gpus=[FULL_GPU]) == (16, Reason.GOODPUT)
    assert decided(ServerReading(waiting=0.0, cache=None), gpus=[FULL_GPU]) == (5, Reason.GPU_MEMORY)


async def test_a_silent_server_has_no_reading_and_one_warning(caplog):
    """Errors, unknown metrics and broken values are no reading; the log says so once until the server answers."""
    caplog.set_level(logging.WARNING)
    answers = [(500, ""), (200, "up 1\n"), (200, "tgi_queue_size many\n"), (200, VLLM), (404, "")]

    async def answer(_request: web.Request) -> web.Response:
        status, text = answers.pop(0)
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader = ServerReader(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics")
    try:
        assert [await reader.read() for _ in range(3)] == [None, None, None]
        assert len(caplog.messages) == 1
        assert await reader.read() == ServerReading(waiting=7.0, cache=0.5)
        assert await reader.read() is None
    finally:
        await reader.close()
        await runner.cleanup()
    closed = ServerReader("http://127.0.0.1:1/metrics")
    assert await closed.read() is None
    await closed.close()
    assert len(caplog.messages) == 3


def test_an_address_that_is_none_is_refused():
    """The error names the variable, the value and an example."""
    environ = {"AGENTPOOL_SERVER_METRICS": "127.0.0.1:8000", "AGENTPOOL_POOL": "a/b", "AGENTPOOL_WORKER": "w"}
    with pytest.raises(SettingError, match=r"AGENTPOOL_SERVER_METRICS.*127\.0\.0\.1:8000") as caught:
        settings_from(environ, redis_url="redis://127.0.0.1:1")
    assert "http://127.0.0.1:8000/metrics" in caught.value.remedy
