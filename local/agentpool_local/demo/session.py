"""`agentpool demo`: real agents on real files, from zero workers to several and back to zero.

Checks its options, starts the system (or uses a given cluster), runs `run`, writes the findings and the
measurements, and leaves nothing running unless asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue.connection.client import connect
from agentpool_local.bundled import EXAMPLE, manifest
from agentpool_local.demo.corpus import find_documents
from agentpool_local.demo.model_access import KEY, model_key, with_model
from agentpool_local.demo.model_access import SECRET as MODEL_SECRET
from agentpool_local.demo.report import next_after_demo, report, summary
from agentpool_local.demo.run import DemoRun
from agentpool_local.dev import next_steps
from agentpool_local.stack.cluster import open_kubeconfig
from agentpool_local.stack.interrupts import Interrupts
from agentpool_local.stack.redis_server import check_redis
from agentpool_local.stack.stack import NAMESPACE, SECRET, Stack, StackOptions
from agentpool_local.stack.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from agentpool_local.demo.corpus import Document
    from agentpool_local.demo.figures import DemoFigures
    from agentpool_local.demo.screen import Screen
    from agentpool_local.errors import ChildDiedError
    from agentpool_local.stack.cluster import Cluster

KILLED = 128  # plus a signal's number: the exit code of a program that the signal ended


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """Input and output of the demo."""

    input: Path  # directory, absolute
    report: Path  # file, absolute
    json_file: Path | None  # None: show the figures only
    kubeconfig: Path | None  # None: start a devcluster and an operator
    redis_url: str | None  # None: start a server
    keep: bool  # leave everything running at the end, until Ctrl-C


async def run_demo(options: DemoOptions, screen: Screen) -> int:
    """Run the demo and return its exit code. Raises an AgentPoolError for every failure."""
    began = time.monotonic()
    for file in filter(None, (options.report, options.json_file)):
        check_writable(file)
    documents = find_documents(options.input, leave_out=frozenset({options.report}))
    demo = Demo(options, screen, documents, began)
    with Workspace() as workspace:
        stack = None if options.kubeconfig else demo.stack(workspace)
        with Interrupts(hurry=stack.kill if stack else _do_nothing) as interrupts:
            try:
                figures = await (demo.on_stack(stack, workspace) if stack else demo.on_cluster(workspace))
            except asyncio.CancelledError:
                if interrupts.received is None:
                    raise
                return KILLED + interrupts.received
            finally:
                screen.close()
                if stack:
                    await stack.stop()
    return 0 if figures.good else 1


class Demo:
    """Sequence of the demo, on a new system or on an existing cluster."""

    def __init__(self, options: DemoOptions, screen: Screen, documents: Sequence[Document], began: float) -> None:
        self._options = options
        self._screen = screen
        self._documents = documents
        self._began = began  # time.monotonic()

    def stack(self, workspace: Workspace) -> Stack:
        """Return a separate system, not started yet."""
        return Stack(
            StackOptions(redis_url=self._options.redis_url),
            workspace,
            sink=_discard_line,
            progress=self._screen.say,
        )

    async def on_stack(self, stack: Stack, workspace: Workspace) -> DemoFigures:
        """Start the system and run the demo there."""
        await stack.start()
        figures = await run_while_alive(stack.died(), self._run(stack.kubeconfig, stack.redis_url, workspace))
        if self._options.keep:
            self._screen.say(next_steps(stack, seconds=time.monotonic() - self._began))
            with contextlib.suppress(asyncio.CancelledError):
                raise await stack.died()
        return figures

    async def on_cluster(self, workspace: Workspace) -> DemoFigures:
        """Run on the user's cluster; objects of the demo are deleted again."""
        kubeconfig, redis_url = self._options.kubeconfig, self._options.redis_url
        if kubeconfig is None or redis_url is None:
            raise SettingError(
                field="--redis",
                value=None,
                problem="is needed with --kubeconfig",
                remedy="name the Redis that the cluster's pods and this machine both reach",
            )
        await check_redis(redis_url)
        return await self._run(kubeconfig, redis_url, workspace, clean_up=not self._options.keep)

    async def _run(
        self, kubeconfig: Path, redis_url: str, workspace: Workspace, *, clean_up: bool = False
    ) -> DemoFigures:
        body = with_model(manifest(f"{EXAMPLE}/agentpool.yaml"), os.environ)
        pool = PoolRef(NAMESPACE, body["metadata"]["name"])
        redis = connect(redis_url)
        async with open_kubeconfig(kubeconfig) as cluster:
            run = DemoRun(
                cluster=cluster,
                redis=redis,
                pool=pool,
                record=workspace.directory("record"),
                show=self._screen.show,
            )
            if self._options.kubeconfig:
                await _check_not_taken(cluster, pool)
            try:
                await cluster.put_redis(NAMESPACE, SECRET, redis_url)
                if key := model_key(os.environ):
                    await cluster.put_secret(NAMESPACE, MODEL_SECRET, {KEY: key})
                await run.apply(body)
                self._screen.say(f"pool {pool} is ready; submitting {len(self._documents)} jobs")
                await run.submit(self._options.input, self._documents)
                return await self._to_the_end(run)
            finally:
                await redis.aclose()
                if clean_up:
                    await cluster.delete(paths.agentpools(pool.namespace, pool.name))

    async def _to_the_end(self, run: DemoRun) -> DemoFigures:
        await run.follow()
        self._screen.say("every job has ended; waiting for the workers to stop")
        left = await run.wait_for_scale_in()
        figures = run.figures(final_replicas=left, seconds=time.monotonic() - self._began)
        findings, failures = await run.results()
        self._screen.close()
        _write(self._options.report, report(self._options.input, findings, failures, figures))
        if self._options.json_file:
            _write(self._options.json_file, json.dumps(figures.as_json()) + "\n")
        self._screen.say("")
        self._screen.say(summary(figures))
        self._screen.say(f"report: {self._options.report}")
        if not self._options.keep:
            self._screen.say(next_after_demo())
        return figures


async def run_while_alive(
    death: Coroutine[Any, Any, ChildDiedError], work: Coroutine[Any, Any, DemoFigures]
) -> DemoFigures:
    """Do the work. Raises ChildDiedError if a part of the system ends first."""
    doing, dying = asyncio.create_task(work), asyncio.create_task(death)
    try:
        await asyncio.wait((doing, dying), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise dying.result()
        return doing.result()
    finally:
        doing.cancel()
        dying.cancel()
        await asyncio.gather(doing, dying, return_exceptions=True)


async def _check_not_taken(cluster: Cluster, pool: PoolRef) -> None:
    """Check that the pool, which is replaced now and deleted at the end, belongs to the demo. Raises SettingError."""
    if await cluster.read(paths.agentpools(pool.namespace, pool.name)) is not None:
        raise SettingError(
            field="--kubeconfig",
            value=str(pool),
            problem="exists on that cluster already; the demo would replace and delete it",
            remedy=f"delete it first: kubectl --namespace {pool.namespace} delete agentpool {pool.name}",
        )


def check_writable(file: Path) -> None:
    """Make sure, before any work is done, that a file can be written. Raises SettingError."""
    try:
        there = file.exists()
        with file.open("a", encoding="utf-8"):
            pass
        if not there:
            file.unlink()
    except OSError as error:
        raise SettingError(
            field="--report" if file.suffix == ".md" else "--json",
            value=str(file),
            problem=f"cannot be written ({error.strerror})",
            remedy="name a file in a directory that you may write to",
        ) from error


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _discard_line(_name: str, _line: str) -> None:
    """Ignore a line: the parts keep their last lines for errors, and the demo's screen has no room for them."""


def _do_nothing() -> None:
    """Do nothing: there are no parts to hurry."""
