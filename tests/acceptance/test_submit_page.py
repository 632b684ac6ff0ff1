"""docs/submit.md, run as by a reader, beside a running `agentpool dev`."""

from __future__ import annotations

import shutil
import signal
from contextlib import closing
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
    with closing(DevSystem(f"--image=greeter={tmp_path}")) as system:
        system.page(PAGE, tmp_path, *PROMISED)
        assert not system.children("agentpool", "worker"), "the pool's workers outlive it"
        system.process.send_signal(signal.SIGINT)
        assert (system.ended(), system.left_behind()) == (0, []), system.output
    assert [path.name for path in tmp_path.iterdir() if path.suffix in {".py", ".yaml", ".ndjson", ".csv"}] == []
