"""The first import of an App, before `agentpool dev` starts anything."""

from __future__ import annotations

import pytest

from agentpool_local.app_check import read_routes
from agentpool_local.errors import AppError

AGENT = """
from agentpool_worker import App

agent = App()


@agent.handler("greet")
def greet(payload):
    return payload
"""


@pytest.mark.parametrize(
    ("program", "detail", "remedy"),
    [
        (AGENT, "app 'm:app': m has no 'app'", "it has the App agent"),
        ("app = 7", "app 'm:app': it is a int, not an agentpool_worker.App", "write app = App() there"),
        ("import nosuch", "app 'm:app': m needs the module 'nosuch'", "install it"),
        ("def", "app 'm:app': importing it raised SyntaxError: invalid syntax (m.py, line 1)", "correct the module"),
        (
            "raise SystemExit('no key')",
            "app 'm:app': importing it ended with exit code 1: no key",
            "correct the module",
        ),
        ("raise SystemExit", "app 'm:app': importing it ended with exit code 0: no output", "correct the module"),
        (
            "import os\nprint('[1]', flush=True)\nos._exit(1)",
            "app 'm:app': importing it ended with exit code 1: [1]",
            "correct the module",
        ),
    ],
)
async def test_an_app_that_no_worker_could_serve_is_refused(tmp_path, program, detail, remedy):
    """The error names the App, the cause and the remedy."""
    (tmp_path / "m.py").write_text(program)
    with pytest.raises(AppError) as refused:
        await read_routes("m:app", tmp_path)
    assert (refused.value.detail, refused.value.remedy, refused.value.exit_code) == (detail, remedy, 2)


async def test_an_app_in_its_directory_is_found(tmp_path):
    """The import sees modules beside it, as in a pod; the output of the module does not matter."""
    (tmp_path / "tools.py").write_text("NAME = 'x'")
    (tmp_path / "m.py").write_text(f"import tools\n{AGENT}\nprint('ready')")
    assert await read_routes("m:agent", tmp_path)


NOISE = """
import atexit, subprocess, sys, threading

import pydantic

threading.Thread(target=threading.Event().wait).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
atexit.register(print, "[7]")


class Odd(pydantic.BaseModel):
    share: float = float("nan")


@agent.handler("odd")
def odd(payload: Odd):
    return None
"""


async def test_output_threads_and_children_of_a_module_do_not_matter(tmp_path, monkeypatch):
    """A module may print at its exit, leave a thread and a child behind, and have a model without a JSON Schema."""
    monkeypatch.setattr("agentpool_local.app_check.IMPORT_SECONDS", 600.0)
    (tmp_path / "m.py").write_text(f"{AGENT}{NOISE}")
    assert await read_routes("m:agent", tmp_path) == [{"name": "default", "kinds": ["greet", "odd"]}]
