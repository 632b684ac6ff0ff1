"""The import of an App in a process of its own: `python -m agentpool_local.app_check MODULE:ATTRIBUTE`.

The App is imported as a worker imports it. The last line of the output is JSON: the routes of the App, as
`agentpool schemas` prints them, or detail and remedy of the error. `app_pool` starts it, so that the user's module
cannot change the process of `agentpool dev`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import HandlerError
from agentpool_core.spec.routes import MAX_KINDS
from agentpool_local.errors import AppError
from agentpool_worker.handlers.app import load
from agentpool_worker.handlers.models import routes_of

if TYPE_CHECKING:
    from pathlib import Path

IMPORT_SECONDS = 30.0  # of the user's module; after it the workers will report the failure
CORRECT = "correct the module"


async def read_routes(app: str, directory: Path) -> list[Any]:
    """Return the routes of an App, imported in its directory. Raises AppError for an App that no worker could serve.

    An App that is not imported in time gets none, and so does an App of more kinds than a route may list: its kinds
    take the default route.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, app,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), IMPORT_SECONDS)
    except TimeoutError:
        return []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    last = (output.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
    if process.returncode:
        raise _error_in(last, app, process.returncode)
    routes: list[Any] = json.loads(last)
    return routes if len(routes[0]["kinds"]) <= MAX_KINDS else []


def _error_in(line: str, app: str, code: int) -> AppError:
    """Return the error in the last line of the process."""
    try:
        detail, remedy = json.loads(line)
    except (ValueError, TypeError):  # the module itself has ended the process
        return AppError(f"app {app!r}: importing it ended with exit code {code}: {line}", remedy=CORRECT)
    return AppError(detail, remedy=remedy)


def main() -> int:
    """Import the App that the argument names, and print its routes."""
    try:
        app = load(sys.argv[1])
        print(json.dumps(routes_of(app.kinds, app.schemas())))  # noqa: T201 - read by `read_routes`
    except HandlerError as error:
        print(json.dumps([error.detail, error.remedy or CORRECT]))  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
