"""docs/submit.md, run as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.redis import RedisServer, free_port

PAGE = Path(__file__).resolve().parents[3] / "docs" / "submit.md"
PRELUDE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\nset -v\n"


def test_every_command_on_the_page_works(redis_server_factory, tmp_path: Path):
    """In the page's order, in one shell, with a Redis of its own; what it promises to print is printed."""
    server: RedisServer = redis_server_factory()
    script = PRELUDE + "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "page.sh").write_text(script.replace("8088", str(free_port())))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AGENTPOOL_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "REDIS_URL": server.tcp_url,
        "KUBECONFIG": "/nowhere",
    }
    done = subprocess.run(
        ["bash", "page.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    for promised in (
        '{\n  "hello": "you"\n}',
        "{'hello': 'you'}",
        '"queue_depth":1',
        '"result":{"hello":"you"}',
        "event: succeeded",
        "ValueError: the model was not found",
        "queued again",
        "1 dead letters deleted",
        "✓ permissions",
    ):
        assert promised in done.stdout, f"{promised!r} is missing in\n{done.stdout}\n{done.stderr}"
