"""`agentpool dev`: the whole system on this machine until Ctrl-C.

Starts the stack, prints the next steps, and passes on the output of the parts, each line under its part's name; the log
of Redis only on request, because it concerns permanent servers. Ends with the first part that dies and cannot be
restarted, naming the part, or with a signal, the ordinary end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING

from agentpool_local.bundled import EXAMPLE, bundled
from agentpool_local.stack.interrupts import Interrupts
from agentpool_local.stack.kept import KeptState
from agentpool_local.stack.labels import Labels
from agentpool_local.stack.redis_server import REDIS
from agentpool_local.stack.stack import Stack, StackOptions
from agentpool_local.stack.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from agentpool_local.app_pool import AppPool


async def run_dev(
    options: StackOptions,
    *,
    app: AppPool | None = None,
    state: Path | None = None,
    verbose: bool = False,
    say: Callable[[str], None],
) -> None:
    """Run until a signal comes, with a pool for `app`. Raises the errors of the stack, ChildDiedError when a part dies.

    A directory `state` keeps Redis's data, token and addresses for the next start. With `verbose` every line of every
    part is shown at once.
    """
    labels = Labels(sys.stderr, muted=() if verbose else (REDIS,))
    if verbose:
        labels.release()
    began = time.monotonic()
    with Workspace() as workspace, KeptState(state) as kept:
        stack = Stack(options, workspace, kept, sink=labels.line, progress=say)
        with Interrupts(hurry=stack.kill) as interrupts:
            try:
                kind = await app.check() if app else None
                await stack.start()
                if app:
                    await app.start(stack.kubeconfig, stack.redis_url)
                labels.release()
                seconds = time.monotonic() - began
                say(next_steps(stack, app, kind=kind, images=options.images, seconds=seconds))
                async with following(app, stack, say):
                    raise await stack.died()
            except asyncio.CancelledError:
                if interrupts.received is None:
                    raise
                say("stopping …")
            finally:
                await stack.stop()
    say(f"stopped; {state} has the jobs" if state else "stopped; nothing is left behind")


@contextlib.asynccontextmanager
async def following(app: AppPool | None, stack: Stack, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Keep the pool of the App in step with the code during the block."""
    task = asyncio.create_task(app.follow(stack.kubeconfig, say)) if app else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def next_steps(
    stack: Stack, app: AppPool | None = None, *, kind: str | None = None, images: Sequence[str] = (), seconds: float
) -> str:
    """Return the next steps for the user; kubectl commands only if kubectl is installed.

    `kind` is one of the App; `images` are those of the user, NAME=DIR.
    """
    steps = _steps_of_app(app, kind) if app else _steps_of_images(images) if images else _steps_of_example()
    lines = [
        "",
        f"AgentPool is up ({seconds:.1f} s). In another terminal:",
        "",
        f"  export KUBECONFIG={stack.kubeconfig}",
        f"  export REDIS_URL={stack.redis_url}",
        f"  export GATEWAY_URL={stack.gateway_url}",
        f"  export TOKEN={stack.token}",
        *([f"  export AGENTPOOL_POOL={app.ref}"] if app else []),
        "",
    ]
    lines += [f"  {line}".rstrip() for line in steps]
    lines += [
        "",
        f"In a browser: {stack.gateway_url}/console/#token={stack.token}",
        f"The HTTP API: {stack.gateway_url}/docs",
        "",
        "Ctrl-C here stops everything.",
        "",
    ]
    return "\n".join(lines)


def _steps_of_app(app: AppPool, kind: str | None) -> list[str]:
    return [
        f"agentpool submit {kind or 'KIND'} '{{}}' --pool {app.name} --wait",
        f"agentpool top --pool {app.name}",
        "",
        f"Pool {app.name} runs {app.app}. A changed file replaces its workers.",
    ]


def _steps_of_images(images: Sequence[str]) -> list[str]:
    places = [image.partition("=") for image in images]
    return [
        *(f"Pods of the image {name}, with any tag, run in {directory}." for name, _, directory in places),
        "Apply an AgentPool whose worker has such an image, then:",
        "",
        "kubectl get agentpools",
        "agentpool submit KIND '{}' --pool NAME --wait",
    ]


def _steps_of_example() -> list[str]:
    example = bundled(EXAMPLE)
    payload = json.dumps({"root": str(example), "path": "README.md"})
    demo = 'agentpool demo --kubeconfig "$KUBECONFIG" --redis "$REDIS_URL"'
    if not shutil.which("kubectl"):
        return [demo]
    return [
        f"kubectl apply -f {shlex.quote(str(example / 'agentpool.yaml'))}",
        "kubectl wait --for=condition=Ready agentpool/repo-analyst",
        f"agentpool submit text {shlex.quote(payload)} --pool repo-analyst --wait",
        "kubectl get agentpools",
        "",
        "or run all steps at once:",
        "",
        demo,
    ]
