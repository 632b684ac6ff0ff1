"""Run the fast tests of a changed module. A change that no test notices must have an explanation.

Each run is a fork of this process, which has imported all libraries in the run of the unchanged module; so a run
imports only our own modules.
"""

from __future__ import annotations

import enum
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import pytest

from tests.mutation import hook
from tests.mutation.changes import Change
from tests.mutation.explained import EXPLAINED
from tests.mutation.subjects import ROOT, Subject

LIMIT_SECONDS = 120  # of a run; the tests of a module take seconds
OURS = ("agentpool_", "tests.fixtures", "tests.unit")
# The shared fixtures and most plugins take seconds to import, and the fast tests need none of them.
_PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "no:cacheprovider")
_OPTIONS = (
    *("-x", "-q", "--no-header", "--noconftest", "--override-ini=addopts=", "--import-mode=importlib"),
    *(f"-p{plugin}" for plugin in _PLUGINS),
)
_FORK = multiprocessing.get_context("fork")


class Outcome(enum.StrEnum):
    """Outcome of a change."""

    KILLED = "killed"  # a test failed
    ENDLESS = "killed by the time limit"
    EXPLAINED = "explained"  # no test failed, and there is a reason
    SURVIVED = "SURVIVED"  # no test failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A change and its outcome."""

    change: Change
    outcome: Outcome
    reason: str = ""  # of an explained survivor


def check_unchanged(subject: Subject) -> None:
    """Raise RuntimeError if the tests fail without a change: they would prove nothing."""
    if _run(subject) != pytest.ExitCode.OK:
        raise RuntimeError(f"{subject.path} is unchanged, and its tests fail: run {' '.join(subject.tests)}")
    hook.forget(*OURS)


def judge(changes: Iterable[Change], *, at_once: int) -> Iterator[Verdict]:
    """Run the tests on each change, several at once; yield the verdicts in the order of the changes."""
    running: deque[tuple[Change, BaseProcess]] = deque()
    for change in changes:
        process = _FORK.Process(target=_run_changed, args=(change,))
        process.start()
        running.append((change, process))
        if len(running) == at_once:
            yield _verdict(*running.popleft())
    while running:
        yield _verdict(*running.popleft())


def _verdict(change: Change, process: BaseProcess) -> Verdict:
    """Wait for the end of a run."""
    process.join(LIMIT_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        return Verdict(change=change, outcome=Outcome.ENDLESS)
    if process.exitcode in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:  # or an import has failed
        return Verdict(change=change, outcome=Outcome.KILLED)
    if process.exitcode != pytest.ExitCode.OK:
        raise RuntimeError(f"{change.subject.name}: {change.becomes}: pytest ended with {process.exitcode}")
    reason = EXPLAINED.get((change.subject.name, change.line, change.becomes), "")
    return Verdict(change=change, outcome=Outcome.EXPLAINED if reason else Outcome.SURVIVED, reason=reason)


def _run_changed(change: Change) -> None:
    """Run the tests on the changed text, silently, in a process of its own."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.__stdout__.fileno())
    os.dup2(silence, sys.__stderr__.fileno())
    hook.install(change.subject.module, change.text)
    os._exit(_run(change.subject))


def _run(subject: Subject) -> int:
    """Return the exit code of pytest."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = True
    return pytest.main([*_OPTIONS, *(str(ROOT / test) for test in subject.tests)])
