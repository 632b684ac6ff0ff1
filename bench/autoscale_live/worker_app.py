"""Handlers of the replay: a request that takes the time of the trace, and no processor time.

The import of the module takes some time, like loading a model or pulling an image.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from agentpool_worker import App

if TYPE_CHECKING:
    from agentpool_worker import Context

app = App()
time.sleep(float(os.environ.get("REPLAY_STRETCH_SECONDS", "0")))


@app.handler("request")
async def request(seconds: float, _ctx: Context) -> None:
    """Take this long."""
    await asyncio.sleep(seconds)
