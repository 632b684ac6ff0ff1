"""How many slots a worker should have: by goodput, within memory and overloads, with the reason in words."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.queue.settings import AdaptiveMode, PoolSettings
from agentpool_worker.slots.adaptive import AdaptiveSlots, Controller, starting_slots
from agentpool_worker.slots.goodput import Point, best, contradict
from agentpool_worker.slots.gpu import GpuReading, NvmlReader, open_reader
from agentpool_worker.slots.observation import Observation, Reason, Sample
from agentpool_worker.slots.recorder import Recorder, Work
from agentpool_worker.slots.search import Phase
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.slots.speed import MOMENT_SECONDS, Level, censored_median, slowdown

GIB = 2**30
GPU = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.GPU, adaptive_min=2, adaptive_max=8)
GOODPUT = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.GOODPUT, adaptive_min=2, adaptive_max=8)
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
        (seen(overloads=3), GOODPUT, 3, Reason.OVERLOADED),
        (seen(gpus=[]), GPU, None, None),
        (seen(slots=3, used=3, gpus=[]), GPU, 4, Reason.RECOVERED),
        (seen(slots=3, used=3), GOODPUT, 4, Reason.RECOVERED),
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
def test_guards_and_blind_growth_follow_readings_and_signals(observation, settings, slots, reason):
    """Before any job has ended, idle GPUs grow by one; full memory or overload shrink by a share; bounds hold.

    A missing reading is not zero: without readings the slots grow back to the concurrency, and no further.
    """
    change = Controller().decide(observation, settings)
    assert (change.slots if change else None, change.reason if change else None) == (slots, reason)


class Pool:
    """Drives a controller: jobs of some kinds take the given time at the present number of slots."""

    def __init__(self, settings: PoolSettings, slots: int, run_seconds, gpus=()) -> None:
        self.controller = Controller()
        self.settings = settings
        self.slots = slots
        self.at = 0.0
        self.run_seconds = run_seconds  # of slots -> kind -> seconds
        self.gpus = gpus
        self.changes = []

    def turn(self, times: int = 1, **fields) -> None:
        """Let periods pass in which every slot is in use."""
        for _ in range(times):
            self.at += 2.0
            kinds = self.run_seconds(self.slots)
            samples = [
                Sample(kind=kind, seconds=seconds * factor, concurrency=self.slots)
                for kind, seconds in kinds.items()
                for factor in (0.9, 1.0, 1.1)
                for _ in range(max(2, self.slots))
            ]
            given = {"used": self.slots, "mean_used": float(self.slots), "samples": samples, "gpus": self.gpus}
            observation = Observation(at=self.at, slots=self.slots, **(given | fields))
            change = self.controller.decide(observation, self.settings)
            if change is not None:
                self.changes.append(change)
                self.slots = change.slots

    def settle(self) -> int:
        """Return the slots that are held after a minute."""
        self.turn(30)
        while self.controller.search.phase is Phase.TRIAL:
            self.turn()
        return self.slots


def knee(slots: int, seconds: float = 1.0):
    """Jobs share a capacity of so many slots."""
    return lambda now: {"work": seconds * max(1.0, now / slots)}


@pytest.mark.parametrize("optimum", [1, 6, 20])
def test_slots_settle_where_more_give_only_latency(optimum):
    """From one slot, the slots reach about the number from which on the run time grows with the slots."""
    pool = Pool(replace(GOODPUT, adaptive_min=1, adaptive_max=64), 1, knee(optimum))
    assert 0.9 * optimum <= pool.settle() <= 1.25 * optimum + 1
    reasons = {change.reason for change in pool.changes}
    assert {Reason.GOODPUT, Reason.LATENCY} <= reasons
    assert all("slots" in change.detail for change in pool.changes)


def test_a_busy_gpu_does_not_stop_growth_that_pays():
    """NVML shows a batching GPU as busy with one sequence already; the measured goodput decides."""
    pool = Pool(replace(GPU, adaptive_min=1, adaptive_max=32), 1, knee(100), gpus=[gpu(utilisation=0.95, memory=0.3)])
    for _ in range(6):
        pool.gpus = [gpu(utilisation=0.95, memory=0.3 + pool.slots / 100)]
        pool.turn()
    assert pool.slots == 32


def test_a_different_mix_of_kinds_is_not_a_different_speed():
    """Slow jobs that come with the higher numbers of slots do not look like a slowdown of the fast jobs."""

    def mixed(now: int):
        return {"fast": 0.1} if now < 8 else {"fast": 0.1, "slow": 30.0}

    pool = Pool(replace(GOODPUT, adaptive_min=1, adaptive_max=32), 1, mixed)
    assert pool.settle() == 32


def test_growth_stops_where_the_memory_of_the_next_jobs_ends():
    """The memory of a job is learned from the first steps, and doubling does not exceed the GPU's memory."""
    pool = Pool(replace(GPU, adaptive_min=1, adaptive_max=64), 1, knee(100))
    for _ in range(30):
        pool.gpus = [gpu(utilisation=0.9, memory=0.2 + 0.06 * pool.slots)]
        assert pool.gpus[0].memory < 0.95
        pool.turn()
    assert pool.slots >= 9


def test_the_search_follows_a_resource_that_becomes_smaller_and_larger():
    """Slower jobs at the same slots start a new search; trials find that more slots pay again."""
    pool = Pool(replace(GOODPUT, adaptive_min=1, adaptive_max=64), 1, knee(16))
    pool.settle()
    pool.run_seconds = knee(4)
    assert pool.settle() <= 6
    assert Reason.CHANGED in {change.reason for change in pool.changes}
    pool.run_seconds = knee(16)
    assert pool.settle() >= 14


def test_unused_slots_change_nothing():
    """Without enough jobs the number stays: free slots give no information about more or fewer slots."""
    pool = Pool(replace(GOODPUT, adaptive_min=1, adaptive_max=64), 4, knee(8))
    pool.turn(20, used=2, mean_used=2.5)
    assert pool.changes == []


def test_an_overload_bounds_the_slots_for_a_while():
    """After an overload the slots return to just below the overloaded number, and try it again after a minute."""
    pool = Pool(replace(GOODPUT, adaptive_min=1, adaptive_max=64), 8, knee(100))
    pool.turn()
    assert pool.slots == 16
    pool.turn(overloads=3, wasted=2.0)
    assert (pool.slots, pool.changes[-1].reason) == (8, Reason.OVERLOADED)
    pool.turn(25)
    assert max(change.slots for change in pool.changes[2:]) == 15
    pool.turn(40)
    assert pool.slots > 16


def test_progress_stands_for_jobs_too_long_to_end():
    """The time for a unit of progress shows the speed while no job has ended."""
    settings = replace(GOODPUT, adaptive_min=1, adaptive_max=32)
    pool = Pool(settings, 1, knee(8))
    for _ in range(60):
        seconds = max(1.0, pool.slots / 8) / 10
        samples = [Sample(kind="long", seconds=seconds, concurrency=pool.slots, is_unit=True)] * pool.slots * 3
        pool.turn(samples=samples)
        if pool.controller.search.phase is Phase.HOLD:
            break
    assert 7 <= pool.slots <= 10


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),  # used
            st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1e6), st.floats(0, 40)), max_size=20),
            st.integers(0, 3),  # overloads
            st.floats(0, 1),  # memory
        ),
        max_size=60,
    )
)
def test_no_observation_leads_out_of_the_bounds(periods):
    """Whatever the jobs do, the slots stay within adaptive.min and adaptive.max, and each change has words."""
    settings = replace(GPU, adaptive_min=3, adaptive_max=20)
    controller, slots = Controller(), 5
    for period, (used, jobs, overloads, memory) in enumerate(periods):
        samples = [Sample(kind=kind, seconds=seconds, concurrency=slots) for kind, seconds, _ in jobs] * 4
        change = controller.decide(
            Observation(
                at=2.0 * period, slots=slots, used=used, overloads=overloads, samples=samples, gpus=[gpu(0.9, memory)]
            ),
            settings,
        )
        if change is not None:
            assert 3 <= change.slots <= 20
            assert change.slots != slots
            assert change.detail
            slots = change.slots


def test_the_median_counts_running_jobs():
    """Running jobs are lower bounds: without them, the first jobs to end would make a level look fast."""
    assert censored_median([1.0, 2.0, 3.0], []) == 2.0
    assert censored_median([1.0, 3.0], []) == 2.0
    assert censored_median([1.0], [5.0, 5.0, 5.0]) is None
    assert censored_median([1.0, 2.0, 9.0], [5.0]) == 5.5
    assert censored_median([], []) is None


def test_noise_of_a_level_does_not_pass_for_goodput():
    """Measurements count together: a single level that looks good by chance decides nothing."""
    flat = [Point(slots=slots, time=0.0, error=0.05) for slots in (1, 2, 4, 8)]
    shared = [Point(slots=slots, time=math.log(slots / 8), error=0.05) for slots in (16, 32)]
    lucky = Point(slots=64, time=math.log(64 / 8) - 0.25, error=0.25)
    assert 7 <= best([*flat, *shared, lucky], 64) <= 10
    assert not contradict([*flat, *shared, lucky], 64)
    assert contradict([*flat, Point(slots=7, time=1.5, error=0.05)], 64)


def test_the_recorder_measures_the_concurrency_of_each_job():
    """A sample has the mean number of jobs beside it; reports of progress become units; refusals waste slots."""
    now = [0.0]
    recorder = Recorder(lambda: now[0])
    assert recorder.begin("work", types.SimpleNamespace(reports=0)) is None  # off
    recorder.is_on = True
    job = types.SimpleNamespace(reports=0)
    first, second = recorder.begin("work", job), recorder.begin("other", types.SimpleNamespace(reports=0))
    now[0] = 2.0
    recorder.end(second, Work.REFUSED)
    job.reports = 8
    now[0] = 4.0
    recorded = recorder.take()
    assert (recorded.mean_used, recorded.wasted) == (1.5, 0.5)
    assert recorded.samples == [Sample(kind="work", seconds=0.5, concurrency=1.5, is_unit=True)]
    assert recorded.running == [Sample(kind="work", seconds=4.0, concurrency=1.5)]
    recorder.end(first, Work.DONE)
    recorder.end(recorder.begin("work", job), Work.UNKNOWN)
    assert recorder.take().samples == [Sample(kind="work", seconds=4.0, concurrency=1.5)]


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
    now = [0.0]
    adaptive = AdaptiveSlots(
        slots=slots, settings=lambda: GPU, reader=Recorded(), changed=changes.append, clock=lambda: now[0]
    )
    history = []
    while recording["frames"]:
        while slots.free:
            slots.take()
            adaptive.recorder.begin("work", types.SimpleNamespace(reports=0))
        now[0] += 2.0
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


def level_of(slots: int, moments: Sequence[Sequence[float]]) -> Level:
    """Return a level with these run times, moment by moment."""
    found = Level(slots, 0.0)
    for number, times in enumerate(moments):
        samples = [Sample(kind="job", seconds=seconds, concurrency=slots) for seconds in times]
        found.add(samples, (), at=number * MOMENT_SECONDS)
    return found


def test_jobs_of_a_slow_moment_count_together():
    """The same run times prove less if they come in slow and fast moments than if each moment has both."""
    fast, slow = [1.0, 1.05, 0.95] * 10, [1.5, 1.55, 1.45] * 10
    spells = slowdown(level_of(4, [fast, slow] * 6), level_of(8, [slow, fast] * 6))
    mixed = slowdown(level_of(4, [fast[:15] + slow[:15]] * 12), level_of(8, [fast[:15] + slow[:15]] * 12))
    assert spells is not None
    assert mixed is not None
    assert abs(spells.log - mixed.log) < 1e-9
    assert spells.error > 1.5 * mixed.error
