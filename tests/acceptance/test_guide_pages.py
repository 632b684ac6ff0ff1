"""Guides with programs: the test saves the files of a page and types its commands beside `agentpool dev`."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = pytest.mark.timeout(240)
NEEDS = {"from-bullmq.md": ("kubectl", "node"), "limits-and-schedules.md": ("kubectl",)}
DOCS = Path(__file__).parents[2] / "docs"
FILES = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(
    ("page", "app", "promised"),
    [
        ("from-fastapi.md", "reports:app", ['{"report":"report of order 7"}']),
        (
            "from-celery.md",
            "images:app",
            ["['0.png in 128 px', '1.png in 128 px', '2.png in 128 px']", " failed ", "the sum is 5"],
        ),
        ("first-agent.md", "summarizer:app", ['"Queues   A queue keeps order"', " failed "]),
        (
            "pipeline.md",
            "newsletter:app",
            ["This week: news about queues, news about agents", '"sent": ', "every parent succeeded"],
        ),
        (
            "from-bullmq.md",
            "--image=mails=.",
            ["succeeded { sent: 'ada' }", "succeeded [ 'bob', 'cyd' ]", "failed Permanent: the container answered 422"],
        ),
        (
            "limits-and-schedules.md",
            "--image=desk=.",
            [
                "the limit 'per-customer' of 2 at once for the key 'acme'",
                "5 at once",
                "30 6 * * 1-5",
                "5 jobs cancelled",
            ],
        ),
        ("testing-handlers.md", "orders:app", ["6 passed", "2 passed"]),
    ],
)
def test_every_command_on_the_page_works(tmp_path, page, app, promised):
    """The saved files run as described, and print the promised output."""
    if missing := [name for name in NEEDS.get(page, ()) if not shutil.which(name)]:
        pytest.skip(f"not on PATH: {missing}")
    files = FILES.findall((DOCS / page).read_text())
    assert files
    for name, text in files:
        (tmp_path / name).write_text(text)
    with closing(DevSystem(app, cwd=tmp_path)) as system:
        system.page(DOCS / page, tmp_path, *promised)
