"""Pages for browsers: the console, the API's description at `/docs/`, and the runbooks of the alerts.

Static files without a build step; the policy lets a page load files from and talk to this gateway only. The scripts
call the API with the user's token.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from agentpool_core import runbooks

CONSOLE = Path(__file__).parents[1] / "console"
REFERENCE = Path(__file__).parents[1] / "reference"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}


class Pages(StaticFiles):
    """A folder's files, under the policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI) -> None:
    """Serve the console at `/console/`, the API's page at `/docs/` and the runbooks; shorter paths redirect there."""

    @app.get(runbooks.PATH, include_in_schema=False)
    async def show_runbooks() -> HTMLResponse:
        return HTMLResponse(runbooks.runbooks_page(), headers=HEADERS)

    for short, whole in (("/", "/console/"), ("/console", "/console/"), ("/docs", "/docs/")):
        _redirect(app, short, whole)
    app.mount("/console", Pages(directory=CONSOLE, html=True))
    app.mount("/docs", Pages(directory=REFERENCE, html=True))


def _redirect(app: FastAPI, path: str, to: str) -> None:
    @app.get(path, include_in_schema=False)
    async def lead(request: Request) -> RedirectResponse:
        return RedirectResponse(request.scope.get("root_path", "") + to, status_code=HTTPStatus.TEMPORARY_REDIRECT)
