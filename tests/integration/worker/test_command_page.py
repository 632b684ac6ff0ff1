"""docs/handlers-command.md: its lines of shell, in a job."""

from __future__ import annotations

import os
import re
from pathlib import Path

from agentpool_core.queue.completions import Waiting
from agentpool_worker.handlers.command import CommandHandlers
from tests.unit.worker.fakes import Bench, lease

PAGE = Path(__file__).parents[3] / "docs" / "handlers-command.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FETCH = """\
#!/bin/sh
if rmdir "$0.fails" 2> /dev/null; then exit 1; fi
echo '"the page"'
"""


async def test_every_line_of_the_page_works_in_a_job(tmp_path, monkeypatch):
    """The first fetch fails and is tried again, as a step of its own and without a pause."""
    fetch = tmp_path / "fetch"
    fetch.write_text(FETCH)
    fetch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    report, step, retried, usage, wait = BLOCKS
    (tmp_path / "fetch.fails").mkdir()
    retried = retried.replace("steps/fetch/", "steps/again/").replace("backoff=2", "backoff=0")
    script = f"set -eu\nurl=x\n{report}\n{retried}\n{step}\n{usage}\n{wait}"
    handlers = CommandHandlers(["bash", "-c", script])
    await handlers.start()
    try:
        async with Bench(handlers) as bench:
            bench.queue.signals["job-1", "approval", 1] = '{"approved": true}'
            bench.submit(lease())
            (completion,) = await bench.settled(1)
    finally:
        await handlers.stop()
    assert isinstance(completion, Waiting), completion
    assert 21_590_000 < (completion.after_ms or 0) <= 21_600_000
    assert [value for _, value in bench.queue.saved] == [{"read": 1, "of": 3}, {"at": 1}]
    assert bench.queue.chunks == [(1, '"The first words"')]
    steps = {step.name: (step.outcome.value, step.result) for step in bench.queue.steps_of["job-1"].values()}
    assert steps["fetch"] == ("succeeded", "the page")
    assert steps["~wait:approval"][0] == "succeeded"
    assert [(report.input_tokens, report.output_tokens) for _, report in bench.queue.used] == [(900, 150)]
