"""What the workers of the replay run: a request that takes as long as the trace says, and no processor time.

The module takes its time to be imported, as a model takes to be loaded or an image to be pulled.
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
    """Takes this long."""
    await asyncio.sleep(seconds)
