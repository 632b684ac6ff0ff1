"""The runbooks of the alerts as a page, which operator and gateway serve: the link of an alert needs no other host."""

from __future__ import annotations

from importlib import resources

PATH = "/docs/runbooks"  # on both servers; the chart's `agentpool.runbooks` adds it to their addresses


def runbooks_page() -> str:
    """Return the page as HTML."""
    return resources.files(__package__ or __name__).joinpath("runbooks.html").read_text(encoding="utf-8")
