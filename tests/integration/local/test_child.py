"""Supervision of real processes."""

import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest

from agentpool_local.errors import ChildDiedError, MissingPartError, NotReadyError
from agentpool_local.stack.child import Child
from tests.fixtures.redis import wait_until


@pytest.fixture
def heard():
    return []


@pytest.fixture
async def start(tmp_path, heard):
    children = []

    async def started(program, name="part"):
        argv = [sys.executable, "-c", textwrap.dedent(program)]
        child = await Child.start(name, argv, cwd=tmp_path, sink=lambda *line: heard.append(line))
        children.append(child)
        return child

    yield started
    for child in children:
        await child.stop(seconds=0)


async def said(heard, text):
    await wait_until(lambda: any(text in line for _, line in heard), f"the child to say {text!r}", within_s=20)


FOREVER = "import signal; print('up', flush=True); signal.pause()"


async def test_lines_are_passed_on_under_the_childs_name(start, heard):
    """Standard output and error become labelled lines."""
    child = await start("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    await child.died()
    assert heard == [("part", "out"), ("part", "err")]


async def test_a_death_is_reported_with_name_code_and_last_lines(start):
    """The error names the component, the exit code and the last lines."""
    child = await start("import sys; print('cannot bind'); sys.exit(3)")
    error = await child.died()
    assert (error.name, error.code, error.tail) == ("part", 3, ("cannot bind",))
    assert "exit code 3" in str(error)


async def test_a_child_that_dies_before_readiness_is_named(start):
    """The wait ends with the child, not at the time limit."""
    child = await start("import sys; sys.exit(1)")
    with pytest.raises(ChildDiedError):
        await child.until_ready(never, seconds=60, missing="it never answers")


async def test_an_unready_child_is_named(start):
    """The error names the missing event."""
    child = await start(FOREVER)
    with pytest.raises(NotReadyError, match="part is not ready after 0 s: it never answers"):
        await child.until_ready(never, seconds=0, missing="it never answers")


async def never():
    return False


async def test_stopping_sends_sigterm_first(start, heard):
    """The child gets SIGTERM and time to end."""
    child = await start("""
        import signal, sys
        signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(0)))
        print('up', flush=True)
        signal.pause()
    """)
    await said(heard, "up")
    await child.stop(seconds=20)
    assert ("part", "bye") in heard


async def test_stopping_kills_the_whole_group_of_a_deaf_child(start, heard):
    """A child that ignores SIGTERM is killed together with all child processes."""
    child = await start("""
        import signal, subprocess, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])
        print(inner.pid, flush=True)
        signal.pause()
    """)
    await said(heard, "")
    inner = int(heard[0][1])
    await child.stop(seconds=0.05)
    await wait_until(lambda: not runs(inner), "the inner process to end", within_s=20)


def runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_an_absent_program_is_named(tmp_path):
    """The error names the program."""
    with pytest.raises(MissingPartError, match="/no/such/program"):
        await Child.start("part", ["/no/such/program"], cwd=tmp_path, sink=lambda *_: None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals a child when its parent is killed")
def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    """Even SIGKILL of the supervisor leaves no child behind."""
    program = textwrap.dedent("""
        import asyncio, pathlib, sys
        from agentpool_local.stack.child import Child

        async def main():
            argv = [sys.executable, "-c", "import signal; signal.pause()"]
            child = await Child.start("part", argv, cwd=pathlib.Path("."), sink=print)
            print(child.pid, flush=True)
            await child.died()

        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        gone, _ = psutil.wait_procs([child], timeout=20)
        assert gone
