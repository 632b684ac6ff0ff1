"""The import of an App in a process of its own: `python -m agentpool_local.app_check MODULE:ATTRIBUTE FILE`.

The App is imported as a worker imports it. The process writes JSON into the file: the routes of the App, as
`agentpool schemas` prints them, or detail and remedy of the error. Its output belongs to the user's module, and so do
threads and exit handlers, which the process does not wait for. `app_pool` starts it, so that the module cannot change
the process of `agentpool dev`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from agentpool_core.errors import HandlerError
from agentpool_core.spec.routes import MAX_KINDS
from agentpool_local.errors import AppError
from agentpool_worker.handlers.app import App, load
from agentpool_worker.handlers.models import routes_of

IMPORT_SECONDS = 30.0  # of the user's module; after it the workers will report the failure
CORRECT = "correct the module"


async def read_routes(app: str, directory: Path) -> list[Any]:
    """Return the routes of an App, imported in its directory. Raises AppError for an App that no worker could serve.

    An App that is not imported in time gets none, and so does an App of more kinds than a route may list: its kinds
    take the default route.
    """
    with tempfile.TemporaryDirectory(prefix="agentpool-") as place:
        answer, output = Path(place, "answer"), Path(place, "output")
        code = await _import(app, directory, answer, output)
        if code is None:
            return []
        found = _read(answer)
        if found is None:
            said = _last_line(output)
            raise AppError(f"app {app!r}: importing it ended with exit code {code}: {said}", remedy=CORRECT)
    if "detail" in found:
        raise AppError(found["detail"], remedy=found["remedy"])
    routes: list[Any] = found["routes"]
    return routes if len(routes[0]["kinds"]) <= MAX_KINDS else []


async def _import(app: str, directory: Path, answer: Path, output: Path) -> int | None:
    """Run the process; return its exit code, or None if it takes too long."""
    path = os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, app, str(answer),
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )  # fmt: skip
    try:
        return await asyncio.wait_for(process.wait(), IMPORT_SECONDS)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _last_line(output: Path) -> str:
    return (output.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]


def _read(answer: Path) -> dict[str, Any] | None:
    """Return the answer of the process; None: the module has ended the process before."""
    try:
        found: dict[str, Any] = json.loads(answer.read_text())
    except (OSError, ValueError):
        return None
    return found


def _routes_of(app: App) -> list[dict[str, Any]]:
    """Return the routes of an App; without schemas if the queue does not accept them, as its workers report."""
    try:
        return routes_of(app.kinds, app.schemas())
    except HandlerError:
        return routes_of(app.kinds, ())


def main() -> None:
    """Import the App that the first argument names, and write its routes into the file that the second names."""
    reference, answer = sys.argv[1:]
    try:
        found: dict[str, Any] = {"routes": _routes_of(load(reference))}
    except HandlerError as error:
        found = {"detail": error.detail, "remedy": error.remedy or CORRECT}
    Path(answer).write_text(json.dumps(found), encoding="ascii")
    os._exit(0)  # a thread of the module may run for ever


if __name__ == "__main__":
    main()
