"""How many slots a worker should have: slow up, fast down, with the reason in words."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentpool_core.queue.settings import AdaptiveMode, PoolSettings
from agentpool_worker.slots.adaptive import AdaptiveSlots, Observation, Reason, decide, starting_slots
from agentpool_worker.slots.gpu import GpuReading, NvmlReader, open_reader
from agentpool_worker.slots.semaphore import Slots

GIB = 2**30
GPU = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.GPU, adaptive_min=2, adaptive_max=8)
OVERLOAD = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.OVERLOAD, adaptive_min=2, adaptive_max=8)


def gpu(utilisation: float | None = 0.5, memory: float = 0.5, index: int = 0) -> GpuReading:
    return GpuReading(
        index=index, utilisation=utilisation, memory_used_bytes=int(memory * 80 * GIB), memory_total_bytes=80 * GIB
    )


def seen(slots: int = 5, used: int = 5, overloads: int = 0, gpus: Sequence[GpuReading] = ()) -> Observation:
    return Observation(slots=slots, used=used, overloads=overloads, gpus=gpus)


@pytest.mark.parametrize(
    ("observation", "settings", "slots", "reason"),
    [
        (seen(gpus=[gpu()]), GPU, 6, Reason.GPU_IDLE),
        (seen(gpus=[gpu(utilisation=0.8)]), GPU, None, None),
        (seen(gpus=[gpu(), gpu(memory=0.9, index=1)]), GPU, None, None),
        (seen(gpus=[gpu(memory=0.96)]), GPU, 3, Reason.GPU_MEMORY),
        (seen(used=4, gpus=[gpu(utilisation=0.0)]), GPU, None, None),
        (seen(slots=8, used=8, gpus=[gpu()]), GPU, None, None),
        (seen(slots=2, used=2, gpus=[gpu(memory=0.99)]), GPU, None, None),
        (seen(overloads=3, gpus=[gpu()]), GPU, 3, Reason.OVERLOADED),
        (seen(gpus=[]), GPU, None, None),
        (seen(slots=3, used=3, gpus=[]), GPU, 4, Reason.RECOVERED),
        (seen(slots=3, used=2, gpus=[]), GPU, None, None),
        (seen(gpus=[gpu(utilisation=None)]), GPU, None, None),
        (seen(gpus=[gpu(utilisation=0.1), gpu(utilisation=None, index=1)]), GPU, None, None),
        (seen(slots=3, used=3, gpus=[gpu(utilisation=None)]), GPU, 4, Reason.RECOVERED),
        (seen(slots=3, used=3, gpus=[gpu(utilisation=None, memory=0.9)]), GPU, None, None),
        (seen(gpus=[gpu(utilisation=None, memory=0.96)]), GPU, 3, Reason.GPU_MEMORY),
        (seen(), OVERLOAD, 6, Reason.RECOVERED),
        (seen(slots=8, used=2, overloads=1), OVERLOAD, 5, Reason.OVERLOADED),
        (seen(gpus=[gpu(memory=0.99)]), OVERLOAD, 6, Reason.RECOVERED),
    ],
)
def test_decision_follows_readings_and_signals(observation, settings, slots, reason):
    """Idle GPUs and full slots grow by one; full memory or overload shrink by a share; bounds hold.

    A missing reading is not zero: without readings the slots grow back to the concurrency, and no further.
    """
    change = decide(observation, settings)
    assert (change.slots if change else None, change.reason if change else None) == (slots, reason)


def test_recorded_readings_drive_the_slots_up_and_down():
    """A hand-made recording of a GPU that fills up: slots rise while the GPU is idle and fall as memory runs out."""
    recording = json.loads((Path(__file__).parent / "gpu_recording.json").read_text())

    class Recorded:
        def read(self):
            frame = recording["frames"].pop(0)
            return [GpuReading(**reading) for reading in frame]

        def close(self):
            pass

    slots = Slots(5)
    changes = []
    adaptive = AdaptiveSlots(slots=slots, settings=lambda: GPU, reader=Recorded(), changed=changes.append)
    history = []
    while recording["frames"]:
        while slots.free:
            slots.take()
        adaptive.read()
        adaptive.run_once()
        history.append(slots.total)
    assert history == [6, 7, 8, 8, 8, 5, 5, 3]
    assert {change.reason for change in changes} == {Reason.GPU_IDLE, Reason.GPU_MEMORY}


def test_overload_signals_count_once():
    """All signals since the last decision cause a single decrease."""
    slots = Slots(8)
    adaptive = AdaptiveSlots(slots=slots, settings=lambda: OVERLOAD, reader=None, changed=lambda change: None)
    adaptive.report_overload()
    adaptive.report_overload()
    adaptive.run_once()
    adaptive.run_once()
    assert slots.total == 5


def test_settings_move_the_slots_into_the_new_bounds():
    """Without adaptation, slots follow concurrency; with adaptation, they stay within the new bounds."""
    current = PoolSettings(concurrency=4)
    slots = Slots(starting_slots(current))
    adaptive = AdaptiveSlots(slots=slots, settings=lambda: current, reader=None, changed=lambda change: None)
    current = PoolSettings(concurrency=9)
    adaptive.apply_settings()
    assert slots.total == 9
    current = GPU
    adaptive.apply_settings()
    assert slots.total == 8
    assert starting_slots(GPU) == 5


class FakeNvml:
    """NVML in the form of pynvml, with two GPUs, of which the second is a slice without utilisation."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVMLError_NotSupported = type("NVMLError_NotSupported", (NVMLError,), {})

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802 - the name in pynvml
        if handle == "lost":
            raise self.NVMLError("GPU is lost")
        return types.SimpleNamespace(used=10 * GIB, total=40 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802 - the name in pynvml
        if handle == "slice":
            raise self.NVMLError_NotSupported
        return types.SimpleNamespace(gpu=37)


def test_nvml_readings_have_no_value_for_a_missing_measure():
    """A GPU without utilisation has None, and a lost GPU is left out; neither reads zero."""
    readings = NvmlReader(FakeNvml(), [(0, "whole"), (1, "slice"), (2, "lost")]).read()
    assert [(reading.index, reading.utilisation, reading.memory) for reading in readings] == [
        (0, 0.37, 0.25),
        (1, None, 0.25),
    ]


def test_a_gpu_that_fell_off_its_bus_is_left_out(monkeypatch):
    """The worker starts with the responding GPUs, and CUDA_VISIBLE_DEVICES selects from those."""

    class Host(FakeNvml):
        nvmlInit = nvmlShutdown = lambda self: None  # noqa: N815 - their names
        nvmlDeviceGetCount = lambda self: 3  # noqa: E731, N815 - the name in pynvml

        def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802 - the name in pynvml
            if index == 1:
                raise self.NVMLError("GPU is lost")
            return ["whole", None, "slice"][index]

        def nvmlDeviceGetUUID(self, handle):  # noqa: N802 - the name in pynvml
            return f"GPU-{handle}"

    monkeypatch.setitem(sys.modules, "pynvml", Host())
    assert [reading.index for reading in open_reader({}).read()] == [0, 2]
    assert [reading.index for reading in open_reader({"CUDA_VISIBLE_DEVICES": "GPU-slice"}).read()] == [2]
    assert open_reader({"CUDA_VISIBLE_DEVICES": "1"}) is None


def test_without_a_driver_there_is_no_reader():
    """A host without GPUs has no readings at all, rather than readings of zero."""
    reader = open_reader({"CUDA_VISIBLE_DEVICES": ""})
    assert reader is None
