"""The API's page at `/docs/` in a real browser: complete, readable, and without a request to a foreign host."""

from __future__ import annotations

import pytest

from tests.fixtures.browser import Page, find_browser
from tests.fixtures.gateways import Served

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_browser() is None, reason="Chromium is not installed (apt-get install chromium)"),
]


@pytest.mark.parametrize("width", [1280, 390])
async def test_every_operation_is_on_the_page_and_nothing_is_fetched_elsewhere(page: Page, gateway: Served, width: int):
    """The whole description is shown without signing in; an operation opens by its address."""
    async with gateway.client(None) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    named = "jobs_submit"
    assert named in {operation["operationId"] for operation in operations}
    await page.open(f"{gateway.url}/docs/#{named}", width=width)
    await page.until(f"document.querySelectorAll('details.operation').length === {len(operations)}", "all are shown")
    await page.until(f"document.getElementById({named!r}).open", "the operation that the address names is open")
    shown = await page.run(f"document.getElementById({named!r}).innerText")
    assert all(word in shown for word in ("Idempotency-Key", "curl -sS", "idempotency_key", "202", "queue_depth"))
    assert await page.run("document.documentElement.scrollWidth") <= width
    assert page.requests
    assert all(url.startswith(gateway.url) for url in page.requests), page.requests
    assert not page.errors, page.errors
