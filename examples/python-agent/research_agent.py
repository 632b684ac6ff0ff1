"""An agent in Python: plans, calls tools, stores a checkpoint after each step, and delegates to child jobs.

Run it beside any Redis:

    agentpool worker research_agent:app --redis redis://localhost:6379/0 --pool default/research

The planner is deterministic, so the example needs no model. Replace it by a call of your own.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

from agentpool_worker import App, BlockingContext, ChildOptions, Context, Overloaded, Permanent

app = App()

STOP_WORDS = frozenset(("and", "are", "for", "from", "that", "the", "this", "was", "with"))


@app.handler("research")
async def research(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Find the important words in a directory's texts: a child job per file, then a job that joins their results.

    An interrupted job (drain, preemption, crash) continues after its last checkpoint.
    """
    state = ctx.state or {"plan": plan(Path(payload["directory"])), "children": []}
    for number, path in enumerate(state["plan"]):
        if number < len(state["children"]):
            continue
        # The key makes the submit safe to repeat: a retried parent gets the same child back.
        receipt = await ctx.submit("count-words", {"path": path}, ChildOptions(key=f"count-{number}"))
        state["children"].append(receipt.job_id)
        await ctx.checkpoint(state)
        await ctx.progress({"planned": len(state["plan"]), "delegated": number + 1})
    joined = await ctx.submit("join", None, ChildOptions(key="join", after=tuple(state["children"])))
    ctx.log.info("delegated %d files", len(state["children"]))
    return {"files": len(state["children"]), "answer_in": joined.job_id}


@app.handler("count-words")
def count_words(payload: dict[str, Any], ctx: BlockingContext) -> dict[str, int]:
    """A tool that blocks: a plain function, which runs in a thread."""
    path = Path(payload["path"])
    if not path.is_file():
        raise Permanent(f"{path} is not a file")  # trying again cannot help
    words = re.findall(r"[a-z]{3,}", path.read_text(encoding="utf-8", errors="replace").lower())
    ctx.progress({"words": len(words)})
    return dict(Counter(word for word in words if word not in STOP_WORDS).most_common(20))


@app.handler("join")
async def join(_payload: None, ctx: Context) -> list[list[Any]]:
    """The results of all parents, joined."""
    total: Counter[str] = Counter()
    for counts in ctx.parents.values():
        total.update(counts)
    return [[word, count] for word, count in total.most_common(5)]


@app.handler("call-model")
async def call_model(payload: dict[str, Any], ctx: Context) -> str:
    """Model a rate-limited model server: the job waits, and an adaptive worker runs fewer jobs at once."""
    if payload.get("busy") and ctx.state is None:
        await ctx.checkpoint("was busy")  # deferring counts no attempt, so the state distinguishes the calls
        raise Overloaded(after_seconds=0.1)
    await asyncio.sleep(0)
    return f"answer to {payload['prompt']!r} within {ctx.remaining_seconds:.0f} s"


def plan(directory: Path) -> list[str]:
    """The texts to read, in a fixed order."""
    return [str(path) for path in sorted(directory.rglob("*.md"))]
