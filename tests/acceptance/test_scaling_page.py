"""The page "Try the scaling" of the built site in a real browser: it runs the repository's own decision."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bench.autoscale.lab import compare
from tests.fixtures.browser import Page, find_browser
from tools import scaling_lab

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_browser() is None, reason="Chromium is not installed (apt-get install chromium)"),
    pytest.mark.skipif(not list(scaling_lab.pyodide_files()), reason="Pyodide is not installed: make docs"),
]
BURSTS = [40 if bin_ % 12 < 2 else 0 for bin_ in range(48)]
ASKED = {"service_s": 10, "startup_s": 30, "slots": 5, "max_workers": 20, "target_wait_s": 5}
ROWS = "[...document.querySelectorAll('[data-part=figures] tr')].map(row => [...row.cells].map(cell => cell.innerText))"
ANSWERS = "Number(document.getElementById('scaling-lab').dataset.answers)"


class Quiet(SimpleHTTPRequestHandler):
    """Files of the site, without a log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Print nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def rows_of(**changes: object) -> list[list[str]]:
    """Return the table that the same question has by the Python of this test."""
    drawn = {"rates": BURSTS, "bin_s": 30, "service_s": 10}
    answer = json.loads(compare(json.dumps({**ASKED, "drawn": drawn, "pasted": "", **changes})))
    return [
        [each["name"], f"{each['p50_s']:.1f} s", f"{each['p99_s']:.1f} s", f"{100 * each['in_time']:.0f} %",
         f"{each['worker_hours']:.2f}", str(each["changes"])]
        for each in answer["policies"]
    ]  # fmt: skip


async def until_rows(page: Page, rows: list[list[str]]) -> None:
    """Wait until the table has these rows."""
    await page.until(f"JSON.stringify({ROWS}) === JSON.stringify({json.dumps(rows)})", f"the rows {rows}")


async def test_the_page_sizes_a_pool_by_the_code_of_this_repository(page: Page, site: str):
    """A preset, a drag and a pasted trace have the figures of the same Python outside of the browser."""
    await page.open(f"{site}/try-scaling.html", width=1280, height=1400)
    await page.until("document.querySelectorAll('[data-part=load] rect').length === 48", "the load is drawn")
    await page.run("document.querySelector('[data-part=start]').click()")
    await until_rows(page, rows_of())
    assert await page.run("document.querySelector('[data-part=reason]').innerText.includes('workers:')")
    assert await page.run("document.querySelectorAll('[data-part=sizes] path').length") == 3

    before = await page.run(ANSWERS)
    box = await page.run("JSON.stringify(document.querySelector('[data-part=load]').getBoundingClientRect())")
    edge = json.loads(box)
    at = {
        "x": edge["x"] + edge["width"] * 0.4,
        "y": edge["y"] + edge["height"] * 0.2,
        "button": "left",
        "clickCount": 1,
    }
    await page.ask("Input.dispatchMouseEvent", type="mousePressed", buttons=1, **at)
    await page.ask("Input.dispatchMouseEvent", type="mouseReleased", **at)
    await page.until(f"{ANSWERS} > {before}", "the drawn load was sized")
    assert await page.run(ROWS) != rows_of()

    trace = "arrival,run\n" + "\n".join(f"{second},2" for second in range(0, 300, 3))
    await page.run(
        f"(() => {{ const box = document.querySelector('[data-part=pasted]'); box.value = {json.dumps(trace)};"
        " box.dispatchEvent(new Event('change')) })()"
    )
    await until_rows(page, rows_of(pasted=trace))
    assert not page.errors, page.errors
    assert all(url.startswith((site, "blob:", "data:")) for url in page.requests), page.requests


async def test_a_bad_trace_is_refused_with_its_line_and_the_page_fits_a_phone(page: Page, site: str):
    """The last answer stays, and the next question is answered."""
    await page.open(f"{site}/try-scaling.html", width=390, dark=True)
    await page.until("document.querySelectorAll('[data-part=load] rect').length === 48", "the load is drawn")
    assert await page.run("document.documentElement.scrollWidth") <= 390
    await page.run("document.querySelector('[data-part=pasted]').value = '1,2\\nsoon'")
    await page.run("document.querySelector('[data-part=start]').click()")
    state = "document.querySelector('[data-part=state]').innerText"
    await page.until(f"{state}.includes(\"line 2: 'soon' is not two numbers\")", "the line is named")
    assert not page.errors, page.errors
