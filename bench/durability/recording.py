"""The handler of the trials: each finished run is a line in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from agentpool_worker import App

if TYPE_CHECKING:
    from agentpool_worker import Context

KIND = "note"
RUN_SECONDS = 0.02
app = App()


@app.handler(KIND)
async def note(file: str, ctx: Context) -> None:
    """Work for a moment, and note the job."""
    await asyncio.sleep(RUN_SECONDS)
    with Path(file).open("a", encoding="ascii") as lines:  # noqa: ASYNC230  # a line
        lines.write(f"{ctx.job_id}\n")
