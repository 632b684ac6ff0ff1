"""GPU readings: utilisation and memory of the GPUs visible to this worker.

A `GpuReader` gives a `GpuReading` per GPU; without a driver or a GPU there is no reader (None), never a reader of
zeros. `NvmlReader` asks the driver through NVML, which also sees GPUs used by other programs.
`agentpool_worker.slots.adaptive` decides by the readings, `agentpool_worker.telemetry.metrics` shows them.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB = 2**20
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuReading:
    """A GPU at a moment."""

    index: int  # number of the GPU on the host
    utilisation: float | None  # share of the last sample period in which a kernel ran, 0–1; None: not reported
    memory_used_bytes: int
    memory_total_bytes: int

    @property
    def memory(self) -> float:
        """Share of the memory in use, 0–1."""
        return self.memory_used_bytes / self.memory_total_bytes if self.memory_total_bytes else 0.0


class GpuReader(Protocol):
    """Where readings come from."""

    def read(self) -> Sequence[GpuReading]:
        """Return a reading for each GPU; empty while the driver does not answer. Blocks for milliseconds."""

    def close(self) -> None:
        """Release the driver."""


class NvmlReader:
    """Readings from NVIDIA's driver."""

    def __init__(self, nvml: Any, handles: Sequence[tuple[int, Any]]) -> None:
        self._nvml = nvml
        self._handles = handles

    def read(self) -> list[GpuReading]:
        """Return a reading for each GPU that answers."""
        readings = []
        for index, handle in self._handles:
            try:
                readings.append(self._read_one(index, handle))
            except self._nvml.NVMLError as error:
                log.warning("GPU %d could not be read: %s", index, error)
        return readings

    def close(self) -> None:
        """Release the driver."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as error:
            log.debug("NVML did not shut down: %s", error)

    def _read_one(self, index: int, handle: Any) -> GpuReading:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        try:
            utilisation = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        except self._nvml.NVMLError_NotSupported:  # a MIG slice reports memory only
            utilisation = None
        return GpuReading(
            index=index,
            utilisation=utilisation,
            memory_used_bytes=int(memory.used),
            memory_total_bytes=int(memory.total),
        )


def memory_for_jobs(declared_mib: int, readings: Sequence[GpuReading]) -> int:
    """Return the GPU memory that jobs may divide, in MiB: the declared memory, or that of a smaller GPU."""
    if not readings or not declared_mib:
        return declared_mib
    smallest_mib = min(reading.memory_total_bytes for reading in readings) // MIB
    if smallest_mib < declared_mib:
        log.warning(
            "spec.worker.gpuMemoryMib is %d, and the GPU has %d MiB: jobs divide %d MiB; lower the setting below it",
            declared_mib, smallest_mib, smallest_mib,
        )  # fmt: skip
    return min(declared_mib, smallest_mib)


def open_reader(environ: Mapping[str, str] | None = None) -> NvmlReader | None:
    """Return a reader of the GPUs that this process may use; None without a driver or a device."""
    try:
        import pynvml as nvml
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.debug("no GPU: %s", error)
        return None
    handles = _visible(nvml, os.environ if environ is None else environ)
    if not handles:
        nvml.nvmlShutdown()
        return None
    return NvmlReader(nvml, handles)


def _visible(nvml: Any, environ: Mapping[str, str]) -> list[tuple[int, Any]]:
    """Return the GPUs in CUDA_VISIBLE_DEVICES: all if not set."""
    handles = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handles.append((index, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:  # for example fallen off its bus: the worker continues with the rest
            log.warning("GPU %d cannot be read: %s", index, error)
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [
        (index, handle)
        for index, handle in handles
        if str(index) in names or any(_text(nvml.nvmlDeviceGetUUID(handle)).startswith(name) for name in names)
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
