"""docs/front-doors.md, run as by a reader: five actions through six doors, beside a running `agentpool dev`."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.local_system import DevSystem

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/typescript"
TSC = ROOT / "build/npm/api/node_modules/.bin/tsc"
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed"),
    pytest.mark.skipif(not (shutil.which("npx") and TSC.exists()), reason="node or the compiler is missing: make api"),
]

PROMISED = (
    "event: succeeded",  # curl; the signal may come before the wait, and before the stream
    '"result":{"text":"curl","approved_by":"Ada"}',
    '{"job_id":"curl-2","outcome":"cancelled"}',
    "ConnectionError: the press is off",
    '"result":{"published":"curl"}',
    "agentpool signal ",  # the command line names the command that answers
    '"approved_by": "Ada"',
    " cancelled\n",
    " queued again\n",
    '"published": "terminal"',
    "{'text': 'Python', 'approved_by': 'Ada'}",
    "{'published': 'Python'}",
    "{ text: 'TypeScript', approved_by: 'Ada' }",
    "{ published: 'TypeScript' }",
    "TASK_STATE_INPUT_REQUIRED Publish A2A?",
    "TASK_STATE_CANCELED",
    "TASK_STATE_FAILED ConnectionError: the press is off",
    "{'published': 'A2A'}",
    "Publish MCP? ['approval']",
    "{'text': 'MCP', 'approved_by': 'Ada'}",
    "{'published': 'MCP'}",
    '"desk" deleted',
)


def install_client(folder: Path) -> None:
    """Install the client and the compiler, as `npm install CHECKOUT/clients/typescript typescript` does."""
    installed = folder / "node_modules/agentpool-client"
    installed.mkdir(parents=True)
    shutil.copy(CLIENT / "package.json", installed)
    subprocess.run(
        [TSC, "--project", CLIENT / "tsconfig.json", "--outDir", installed / "dist"], check=True, timeout=100
    )
    binaries = folder / "node_modules/.bin"
    binaries.mkdir()
    (binaries / "tsc").symlink_to(TSC.resolve())


def test_every_door_of_the_page_submits_watches_signals_cancels_and_replays(tmp_path: Path):
    """The commands print the promised output of each door: the answer to the signal, the cancellation, the replay."""
    install_client(tmp_path)
    with closing(DevSystem(f"--image=desk={tmp_path}")) as system:
        system.page(ROOT / "docs/front-doors.md", tmp_path, *PROMISED)
