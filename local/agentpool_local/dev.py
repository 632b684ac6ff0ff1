"""`agentpool dev`: the whole system on this machine until Ctrl-C.

Starts the stack, prints the next steps, and passes on the output of the parts, each line under its part's name; the log
of Redis only on request, because it concerns permanent servers. Ends with the first part that dies and cannot be
restarted, naming the part, or with a signal, the ordinary end.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING

from agentpool_local.bundled import EXAMPLE, bundled
from agentpool_local.stack.interrupts import Interrupts
from agentpool_local.stack.labels import Labels
from agentpool_local.stack.redis_server import REDIS
from agentpool_local.stack.stack import Stack, StackOptions
from agentpool_local.stack.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable


async def run_dev(options: StackOptions, *, verbose: bool = False, say: Callable[[str], None]) -> None:
    """Run until a signal comes. Raises the errors of the stack, and ChildDiedError when a part dies.

    With `verbose` every line of every part is shown at once.
    """
    labels = Labels(sys.stderr, unheard=() if verbose else (REDIS,))
    if verbose:
        labels.release()
    began = time.monotonic()
    with Workspace() as workspace:
        stack = Stack(options, workspace, sink=labels.line, progress=say)
        with Interrupts(hurry=stack.kill) as interrupts:
            try:
                await stack.start()
                labels.release()
                say(next_steps(stack, seconds=time.monotonic() - began))
                raise await stack.died()
            except asyncio.CancelledError:
                if interrupts.received is None:
                    raise
                say("stopping …")
            finally:
                await stack.stop()
    say("stopped; nothing is left behind")


def next_steps(stack: Stack, *, seconds: float) -> str:
    """Return the next steps for the user; kubectl commands only if kubectl is installed."""
    example = bundled(EXAMPLE)
    payload = json.dumps({"root": str(example), "path": "README.md"})
    lines = [
        "",
        f"AgentPool is up ({seconds:.1f} s). In another terminal:",
        "",
        f"  export KUBECONFIG={stack.kubeconfig}",
        f"  export REDIS_URL={stack.redis_url}",
        f"  export GATEWAY_URL={stack.gateway_url}",
        f"  export TOKEN={stack.token}",
        "",
    ]
    if shutil.which("kubectl"):
        lines += [
            f"  kubectl apply -f {shlex.quote(str(example / 'agentpool.yaml'))}",
            "  kubectl wait --for=condition=Ready agentpool/repo-analyst",
            f"  agentpool submit text {shlex.quote(payload)} --pool repo-analyst --wait",
            "  kubectl get agentpools",
            "",
            "or run all steps at once:",
            "",
        ]
    lines += [
        '  agentpool demo --kubeconfig "$KUBECONFIG" --redis "$REDIS_URL"',
        "",
        f"In a browser: {stack.gateway_url}/console/#token={stack.token}",
        f"The HTTP API: {stack.gateway_url}/docs",
        "",
        "Ctrl-C here stops everything.",
        "",
    ]
    return "\n".join(lines)
