"""Visit every state of a small system: a model checker for safety, and for liveness under fair scheduling."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.specification.protocol import ENDED, SOUND, Job, Rules
from tests.specification.system import Bounds, System, moves, promises


@dataclass(frozen=True, slots=True)
class Found:
    """The result: how many states were visited, and the shortest story of a broken promise, if there is one."""

    states: int
    broken: str = ""
    story: tuple[str, ...] = ()


def explore(bounds: Bounds, rules: Rules = SOUND) -> Found:
    """Visit all states, breadth first; stop at the first broken promise."""
    first = System(jobs=tuple(Job() for _ in range(bounds.jobs)))
    came: dict[System, tuple[System, str] | None] = {first: None}
    fairly: dict[System, list[System]] = {}
    left = deque([first])
    while left:
        now = left.popleft()
        fairly[now] = []
        for step in moves(now, bounds, rules):
            broken = promises(now, step.state, bounds)
            if broken:
                return Found(len(came), broken, (*_story(came, now), step.label))
            if step.fair:
                fairly[now].append(step.state)
            if step.state not in came:
                came[step.state] = now, step.label
                left.append(step.state)
    stuck = _stuck(fairly, bounds)
    if stuck is not None:
        return Found(len(came), "a job may never end, although everything fair happens", _story(came, stuck))
    return Found(len(came))


def _stuck(fairly: dict[System, list[System]], bounds: Bounds) -> System | None:
    """Return a state from which fair moves alone cannot end all jobs.

    In a finite system this is the same as a fair run without an end: under strong fairness, each move that is possible
    again and again happens at last. States without tokens left are bounds of the exploration, not of the queue.
    """
    before: dict[System, list[System]] = {}
    for now, following in fairly.items():
        for after in following:
            before.setdefault(after, []).append(now)
    good = {now for now in fairly if all(job.state in ENDED or job.token == bounds.tokens for job in now.jobs)}
    left = deque(good)
    while left:
        for earlier in before.get(left.popleft(), ()):
            if earlier not in good:
                good.add(earlier)
                left.append(earlier)
    return next((now for now in fairly if now not in good), None)


def _story(came: dict[System, tuple[System, str] | None], end: System) -> tuple[str, ...]:
    story: list[str] = []
    now = came[end]
    while now is not None:
        story.append(now[1])
        now = came[now[0]]
    return tuple(reversed(story))
