"""docs/submit.md, run as by a reader, beside a running `agentpool dev`."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
]
PAGE = Path(__file__).parents[2] / "docs" / "submit.md"
PROMISED = (
    '{\n  "hello": "you"\n}',
    "{'hello': 'you'}",
    '"queue_depth":1',
    '"result":{"hello":"you"}',
    '"detail":"payload.name: the value is not of type \\"string\\""',
    '"kinds":[{"kind":"greet","route":"greetings","input":{"properties":',
    "update you said: hello",
    "TASK_STATE_INPUT_REQUIRED [{'text': 'Which city?'}]",
    '"text":"sunny in Oslo"',
    '"pending_reason":"the job is due in',
    "['run_greet', 'submit', 'get_job',",
    "{'hello': 'tools'}",
    '"structuredContent":{"pool":"default/greeter"',
    '"text":"you said: Ada"',
    "dev.agentpool.job.succeeded {'hello': 'you'}",
    "event: succeeded",
    "attempt 1: greeting you",
    "ValueError: the model was not found",
    "queued again",
    "1 job deleted",
    "2 jobs submitted in",
    "✓ permissions",
    "✓ crd",
    '"greeter" deleted',
)


def test_every_command_on_the_page_works(tmp_path: Path):
    """The commands print the promised output in the page's order, in one shell, and leave nothing behind."""
    system = DevSystem(f"--image=greeter={tmp_path}")
    try:
        done = system.page(PAGE, tmp_path)
        workers = system.children("agentpool", "worker") if done.returncode == 0 else []
        system.process.send_signal(signal.SIGINT)
        ended = system.ended()
        left = system.left_behind()
    finally:
        system.close()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{system.output}"
    for promised in PROMISED:
        assert promised in done.stdout, f"{promised!r} is missing in\n{done.stdout}\n{done.stderr}"
    assert not workers, "the pool's workers outlive it"
    assert (ended, left) == (0, []), system.output
    assert [path.name for path in tmp_path.iterdir() if path.suffix in {".py", ".yaml", ".ndjson", ".csv"}] == []
