"""Prototype of decision 0044: the time of a job in a pod of its own, beside the same program in a worker.

`python -m bench.prototypes.pod_jobs [IMAGE]` prints, as JSON, the median and the largest seconds from the request to
the known end of a program that does nothing. It uses the present kubeconfig: that of `agentpool devcluster`, where a
pod is a process and any image is right, or that of a real cluster.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from agentpool_core.kube import paths
from agentpool_core.kube.connection import open_cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentpool_core.kube.client import Cluster

JOBS = 20
PROGRAM = ("/bin/sh", "-c", "exit 0")
NAMESPACE = "default"
ENDED = frozenset({"Succeeded", "Failed"})


async def run_in_process(_number: int) -> None:
    """Run the program as a child of this process, as the handler `command` does."""
    process = await asyncio.create_subprocess_exec(*PROGRAM)
    await process.wait()


async def run_in_pod(cluster: Cluster, image: str, number: int) -> None:
    """Run the program in a pod, wait for its end by a watch, and delete the pod."""
    name = f"job-{number}"
    container = {"name": "job", "image": image, "command": list(PROGRAM)}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"agentpool.dev/prototype": "pod"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    created = await cluster.create(paths.pods(NAMESPACE), body)
    since = created["metadata"]["resourceVersion"]
    async for _, pod in cluster.watch(paths.pods(NAMESPACE), since, fieldSelector=f"metadata.name={name}"):
        if (pod.get("status") or {}).get("phase") in ENDED:
            break
    await cluster.delete(paths.pods(NAMESPACE, name))


async def measure(job: Callable[[int], Awaitable[None]]) -> dict[str, float]:
    """Run jobs in sequence, then all at once."""
    alone = []
    for number in range(JOBS):
        began = time.perf_counter()
        await job(number)
        alone.append(time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.gather(*(job(JOBS + number) for number in range(JOBS)))
    together = time.perf_counter() - began
    return {
        "median_s": round(statistics.median(alone), 4),
        "largest_s": round(max(alone), 4),
        "jobs_per_s_at_once": round(JOBS / together, 1),
    }


async def main() -> None:
    """Print both measures."""
    image = sys.argv[1] if len(sys.argv) > 1 else "none"
    async with open_cluster() as cluster:

        async def in_pod(number: int) -> None:
            await run_in_pod(cluster, image, number)

        found = {"process": await measure(run_in_process), "pod": await measure(in_pod)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
