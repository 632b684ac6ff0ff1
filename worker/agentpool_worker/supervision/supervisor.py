"""A small process that starts the worker, stays beside the worker, and observes the end.

The supervisor forks the worker before heavy imports, forwards signals and output, reaps orphans of jobs, and starts a
new worker after an unintended end. The new worker finds the end of its predecessor in AGENTPOOL_PREVIOUS_EXIT. An end
chosen by the worker also ends the supervisor, and so does a repeated crash (`restarts`).

An asked end comes between two readiness probes of the kubelet: the kubelet probes until it has noticed the end of the
whole pod, and warns the user of each failed probe.

The worker has its own process group, so a signal to the supervisor's group reaches it once; it is killed when the
supervisor dies, and stops with it. Only Linux has the required features. On a terminal a person sees the worker's end,
and Ctrl-C and Ctrl-Z should reach the worker itself, so there it runs alone. The worker process returns from
`supervise` and continues with `agentpool_worker.commands`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from agentpool_core.process.parent_death import signal_on_parent_death
from agentpool_core.start import HELD, hold_signals, release_signals
from agentpool_worker.supervision import cgroup
from agentpool_worker.supervision.exits import signal_name
from agentpool_worker.supervision.lifeline import Lifeline, Phase, adopt
from agentpool_worker.supervision.output import Output
from agentpool_worker.supervision.previous_exit import KILLED_FROM_OUTSIDE, PreviousExit
from agentpool_worker.supervision.probe_socket import answer_one
from agentpool_worker.supervision.processes import adopt_orphans, descendants, kill_until_none
from agentpool_worker.supervision.restarts import START_SECONDS, Restarts, WorkerEnd

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_LEAVE = {signal.SIGTERM, signal.SIGINT}
_EXIT_OF_SIGNAL = 128  # a shell's: 128 + N where signal N ended the process
_LEFTOVERS_END_SECONDS = 0.5  # for processes that end by themselves once the worker is gone
_LEFTOVERS_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOOK_SECONDS = 1.0  # between looks at a worker that promises no liveness signal
_LAST_CHANCE_SECONDS = 2.0  # for a late liveness signal: this process may have been stopped, or the machine frozen
_SINCE_PROBE_SECONDS = 1.0  # after a readiness probe: the end comes early enough before the next one
_NEXT_PROBE_SECONDS = 2.5  # to wait for the next readiness probe, longer than the period in the operator's manifests
HUNG = "the whole process hung: native code held the GIL, or a signal stopped the process"  # cause of a kill


def is_wanted() -> bool:
    """Return whether a worker should be supervised here."""
    return sys.platform.startswith("linux") and not os.isatty(2)


def supervise(report: Callable[[str], None], listening: socket.socket | None = None) -> int | None:
    """Return None in each worker process, and the exit code in the supervisor after the last worker.

    `report` writes a line to the log; `listening` is the socket of the worker's probes. Call it before there is a
    second thread.
    """
    return _Supervisor(report, listening).run()


class _Supervisor:
    def __init__(self, report: Callable[[str], None], listening: socket.socket | None) -> None:
        self._report = report
        self._listening = listening
        self._previous: PreviousExit | None = None
        self._output = Output()
        self._restarts = Restarts()
        self._lifeline = Lifeline()
        self._worker = 0  # process id; 0: none runs
        self._status: int | None = None  # result of waitpid, after the worker's end
        self._asked_to_leave = False
        self._hung = False  # the present worker was killed for this reason
        self._forwarded: set[int] = set()  # signals that the present worker got
        self._wake, self._waker = os.pipe()  # a byte for each signal: the signal number

    def run(self) -> int | None:
        adopt_orphans()
        hold_signals()
        self._listen()
        while True:
            begun_at, kills = time.monotonic(), cgroup.oom_kills()
            if self._start():
                return None
            self._until_ended()
            self._output.finish()
            self._end_leftovers()
            self._output.finish()
            end = self._end_of_worker(begun_at, kills)
            code = _code_of(end.exit)
            pause = self._restarts.pause_after(end)
            if pause is None:
                self._await_probe()
                return code
            self._report(f"the worker process ended ({describe(end.exit)}); a new worker process starts in {pause:g} s")
            self._until(lambda: self._asked_to_leave, within_seconds=pause)
            if self._asked_to_leave:
                self._await_probe()
                return 0
            self._previous = end.exit

    def _listen(self) -> None:
        for descriptor in (self._wake, self._waker):
            os.set_blocking(descriptor, False)
        for number in HELD:
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _start(self) -> bool:
        """Start a worker; return whether this is the process of the worker."""
        self._lifeline = Lifeline()
        self._status = None
        self._hung = False
        self._forwarded.clear()
        tie = signal_on_parent_death(signal.SIGKILL)
        hold_signals()
        worker = os.fork()
        if worker == 0:
            self._become_worker(tie)
            return True
        with contextlib.suppress(OSError):  # already done by the worker, or ended
            os.setpgid(worker, worker)
        self._worker = worker
        release_signals()
        return False

    def _become_worker(self, tie: Callable[[], None] | None) -> None:
        if tie is not None:
            tie()
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in HELD:
            signal.signal(number, signal.SIG_DFL)
        for number in _LEAVE:
            signal.signal(number, leave_before_serving)
        os.close(self._wake)
        os.close(self._waker)
        self._output.attach()
        adopt(self._lifeline)
        if self._previous is not None:
            os.environ |= self._previous.to_environment()
        release_signals()

    def _until_ended(self) -> None:
        """Attend to the worker until the end; kill a worker that hangs in its imports, or as a whole later."""
        seconds = _start_seconds()
        begun_at = time.monotonic()
        while self._status is None:
            if due := self._lifeline.due:
                self._await_liveness(due)
                continue
            left = begun_at + seconds - time.monotonic() if self._lifeline.phase is Phase.STARTING else _LOOK_SECONDS
            if left <= 0:
                self._kill(f"still imports its handlers after {seconds:g} s (AGENTPOOL_START_SECONDS)")
                return
            self._until(lambda: self._status is not None, within_seconds=min(left, _LOOK_SECONDS))

    def _await_liveness(self, due: float) -> None:
        """Attend to the worker until its next liveness signal is due; kill it if the signal is missing."""
        self._until(lambda: self._status is not None, within_seconds=due - time.monotonic())
        if self._lifeline.due == due:
            self._until(lambda: self._status is not None, within_seconds=_LAST_CHANCE_SECONDS)
        if self._worker and self._lifeline.due == due:
            self._hung = True
            self._kill(f"sends no liveness signal ({HUNG})")

    def _kill(self, why: str) -> None:
        self._report(f"the worker {why}: killed")
        os.kill(self._worker, signal.SIGKILL)
        self._until(lambda: self._status is not None)

    def _until(self, condition: Callable[[], bool], *, within_seconds: float | None = None) -> None:
        """Forward, reap and pass output on until the condition holds or the time is over."""
        give_up_at = None if within_seconds is None else time.monotonic() + within_seconds
        while not condition():
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                return
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            for descriptor, events in self._output.descriptors():
                poll.register(descriptor, events)
            if self._answers_probes():
                poll.register(self._listening, select.POLLIN)  # type: ignore[arg-type]  # open, as _answers_probes says
            ready = {descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000)}
            self._output.move(ready)
            self._answer_probe(ready)
            if self._wake in ready:
                for number in os.read(self._wake, 1024):
                    self._handle(number)

    def _await_probe(self) -> None:
        """Answer until just after a readiness probe, if the kubelet sends any, and until no connection waits."""
        if not self._asked_to_leave or self._listening is None:
            return
        last = self._lifeline.probed_at
        if time.monotonic() > last + _SINCE_PROBE_SECONDS:
            left = last + _NEXT_PROBE_SECONDS - time.monotonic()
            self._until(lambda: self._lifeline.probed_at > last, within_seconds=left)
        while select.select([self._listening], [], [], 0)[0]:
            self._answer_probe({self._listening.fileno()})

    def _answer_probe(self, ready: set[int]) -> None:
        if self._listening is None or self._listening.fileno() not in ready:
            return
        if self._leaves():
            if answer_one(self._listening, "draining", leaving=True):
                self._lifeline.probed_at = time.monotonic()
        elif self._previous is not None and self._answers_probes():  # else the worker answers by now
            answer_one(self._listening, f"starting again: the worker process ended ({describe(self._previous)})")

    def _answers_probes(self) -> bool:
        """Return whether probes are answered here: after a restart, until the worker answers, and at the end."""
        if self._listening is None:
            return False
        return self._leaves() or (self._previous is not None and self._lifeline.phase is Phase.STARTING)

    def _leaves(self) -> bool:
        """Return whether the last worker has ended."""
        return self._asked_to_leave and not self._worker

    def _handle(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        self._asked_to_leave = self._asked_to_leave or number in _LEAVE
        if self._worker:
            self._forwarded.add(number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, number)

    def _reap(self) -> None:
        """Record the worker's end, and reap every other child."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
                if pid == 0:
                    return
                if pid != self._worker:
                    continue
                if not os.WIFSTOPPED(status):
                    self._worker, self._status = 0, status
                elif self._lifeline.take_stop():  # we were stopped, and are not any more
                    os.kill(pid, signal.SIGCONT)

    def _end_leftovers(self) -> None:
        """End leftovers of jobs, which would hold the worker's ports and memory."""
        give_up_at = time.monotonic() + _LEFTOVERS_END_SECONDS
        while self._remaining() and time.monotonic() < give_up_at:
            self._until(lambda: False, within_seconds=_POLL_SECONDS)
        killed = kill_until_none(self._remaining, within_seconds=_LEFTOVERS_KILL_SECONDS)
        if killed:
            self._report(f"killed {len(killed)} processes that jobs had left running")

    def _remaining(self) -> list[int]:
        self._reap()
        return descendants(os.getpid())

    def _end_of_worker(self, begun_at: float, kills: int | None) -> WorkerEnd:
        code = os.waitstatus_to_exitcode(self._status or 0)
        number = -code if code < 0 else None
        end = PreviousExit(
            exit_code=code if number is None else None,
            signal=None if number is None else signal_name(number),
            cause=HUNG if self._hung else _cause(number, kills),
            log=self._output.take_lines(),
        )
        return WorkerEnd(
            exit=end,
            phase=self._lifeline.phase,
            lived_seconds=time.monotonic() - begun_at,
            wanted=self._asked_to_leave or number in self._forwarded,
        )


def leave_before_serving(_number: int, _frame: object) -> None:
    """Exit: the worker has no handlers yet, and holds nothing."""
    sys.exit(0)


def _start_seconds() -> float:
    """Return the time limit for importing handlers; the worker itself reports an invalid value."""
    try:
        return float(os.environ.get("AGENTPOOL_START_SECONDS") or START_SECONDS)
    except ValueError:
        return START_SECONDS


def describe(end: PreviousExit) -> str:
    """Describe the end in a few words."""
    how = f"exit code {end.exit_code}" if end.signal is None else end.signal
    return f"{how}, {end.cause}" if end.cause else how


def _cause(number: int | None, kills: int | None) -> str | None:
    if number != signal.SIGKILL:
        return None
    now = cgroup.oom_kills()
    if cgroup.has_grown(kills, now):
        return cgroup.OUT_OF_MEMORY
    return KILLED_FROM_OUTSIDE if now is not None else f"{KILLED_FROM_OUTSIDE} or out of memory"


def _code_of(end: PreviousExit) -> int:
    if end.exit_code is not None:
        return end.exit_code
    number = getattr(signal, end.signal or "", 0) or int((end.signal or "SIG0").removeprefix("SIG"))
    return _EXIT_OF_SIGNAL + number


def _ignore(_number: int, _frame: object) -> None:
    """Let the wake-up descriptor carry the signal."""
