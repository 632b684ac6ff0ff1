"""Prototype of decision 0052: the bytes of a queued job in other layouts than that of `agentpool_core.queue.keys`.

`python -m bench.prototypes.job_bytes` prints the bytes for a job of each layout, and of the parts of today's layout, on
a fresh server with the chart's setting `hash-max-listpack-value 1024`.
"""

from __future__ import annotations

import argparse
import hashlib
from typing import TYPE_CHECKING, Any

import redis

from agentpool_core.queue.codec.requests import new_id
from bench.queue.contender import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = 100_000
SLICE = 10_000  # jobs in a pipeline
PAYLOAD = f'"{"x" * 198}"'
SPEC = "noop|default|task|||"
PREFIX = "ap:{bench/size}:"
STREAM = f"{PREFIX}s:default:task"
BUCKETS = 4096  # hashes of the index of ids


def bare(pipeline: Any, _job: str, _entry: str) -> None:
    """Write a stream entry of the payload alone: the bar's unit."""
    pipeline.xadd(STREAM, {"payload": PAYLOAD})


def stream_of_ids(pipeline: Any, job: str, entry: str) -> None:
    """Write today's stream entry, without a record."""
    pipeline.xadd(STREAM, {"job": job}, entry)


def record(pipeline: Any, job: str, entry: str) -> None:
    """Write today's record, without a stream entry."""
    fields = {"state": "queued", "spec": SPEC, "payload": PAYLOAD, "entry": entry}
    pipeline.hset(f"{PREFIX}job:{job}", mapping=fields)


def today(pipeline: Any, job: str, entry: str) -> None:
    """Write today's layout."""
    stream_of_ids(pipeline, job, entry)
    record(pipeline, job, entry)


def short_names(pipeline: Any, job: str, entry: str) -> None:
    """Write today's layout with one letter for each field and for the state."""
    stream_of_ids(pipeline, job, entry)
    pipeline.hset(f"{PREFIX}j:{job}", mapping={"s": "q", "k": SPEC, "p": PAYLOAD, "e": entry})


def small_record(pipeline: Any, job: str, entry: str) -> None:
    """Write spec and payload into the entry, and a record of the entry's id alone."""
    pipeline.xadd(STREAM, {"job": job, "spec": SPEC, "payload": PAYLOAD}, entry)
    pipeline.hset(f"{PREFIX}job:{job}", mapping={"entry": entry})


def string_record(pipeline: Any, job: str, entry: str) -> None:
    """Write spec and payload into the entry, and a string with the entry's id."""
    pipeline.xadd(STREAM, {"job": job, "spec": SPEC, "payload": PAYLOAD}, entry)
    pipeline.set(f"{PREFIX}job:{job}", entry)


def index(pipeline: Any, job: str, entry: str) -> None:
    """Write spec and payload into the entry, and the entry's id into one of many hashes of ids."""
    pipeline.xadd(STREAM, {"job": job, "spec": SPEC, "payload": PAYLOAD}, entry)
    bucket = int(hashlib.sha1(job.encode(), usedforsecurity=False).hexdigest()[:8], 16) % BUCKETS
    pipeline.hset(f"{PREFIX}ids:{bucket:x}", job, entry)


LAYOUTS: dict[str, Callable[[Any, str, str], None]] = {
    "bare stream entry": bare,
    "entry of today": stream_of_ids,
    "record of today": record,
    "today": today,
    "names of one letter": short_names,
    "entry with spec and payload, record with the entry's id": small_record,
    "entry with spec and payload, string with the entry's id": string_record,
    "entry with spec and payload, index of ids in hashes": index,
}


def bytes_of(url: str, write: Callable[[Any, str, str], None], jobs: int) -> float:
    """Return the bytes of memory for each of so many jobs."""
    with redis.Redis.from_url(url) as client:
        before = client.info("memory")["used_memory"]
        for first in range(0, jobs, SLICE):
            pipeline = client.pipeline(transaction=False)
            for number in range(first, min(first + SLICE, jobs)):
                write(pipeline, new_id(), f"{1_764_351_234_567 + number // 50}-{number % 50}")
            pipeline.execute()
        return float(client.info("memory")["used_memory"] - before) / jobs


def main() -> None:
    """Measure each layout on a fresh server, and print its bytes beside those of a bare entry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=JOBS)
    jobs = parser.parse_args().jobs
    unit = 0.0
    for name, write in LAYOUTS.items():
        with redis_server() as url:
            found = bytes_of(url, write, jobs)
        unit = unit or found
        print(f"{name:60} {found:7.1f} {found / unit:6.2f}")


if __name__ == "__main__":
    main()
