"""Search for the number of slots from which on more give only latency.

Goodput is work for each second. With full slots it is `slots / run time` (Little's law), so the gain of more slots is
the ratio of the slots divided by the slowdown, kind by kind. Three phases:

- *climb*: double the slots while that gains goodput, as TCP's slow start does;
- *narrow*: measure at the best number by the model of `agentpool_worker.slots.goodput`, until the model is sure;
- *hold*: stay, with a trial of a nearby number now and then, at growing intervals; search again when the same slots
  have become slower.

Only full slots give information, so a worker without enough jobs keeps its number. `Search.decide` has no clock and no
effects; `agentpool_worker.slots.adaptive` bounds its result by memory and applies it.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from agentpool_worker.slots.goodput import LATENCY_PRICE, best, contradict, points
from agentpool_worker.slots.observation import Change, Reason
from agentpool_worker.slots.speed import Level, Slowdown, slowdown

if TYPE_CHECKING:
    from agentpool_worker.slots.goodput import Point
    from agentpool_worker.slots.observation import Observation

WORTH = 0.25  # share of the ideal gain that more slots must give: 25 % more slots, at least 5.7 % more goodput
TRIAL_UP, TRIAL_DOWN = 1.35, 1.5  # ratio of a trial's slots and the number held
CLEAR_ERRORS = 2.0  # standard errors by which a trial is decided early
FIRST_PAUSE_SECONDS = 10.0  # between trials
LONGEST_PAUSE_SECONDS = 24.0
CONFIRM_SECONDS = 5.0  # of samples before a step is refused
CLIMB_ERRORS = 1.5  # standard errors by which a trial must be worth more slots: one in fifteen is by chance
CLIMB_DOUBT = 0.7  # standard errors by which a step must miss its gain to be refused
PRECISE = 0.05  # standard error of a level that needs no more samples
NEAR = 1.15  # ratio of two numbers of slots from which they count as different
MOST_TESTED = 14  # numbers of slots in one search
FEWEST_SAMPLES, MOST_CLIMB_SAMPLES, FEWEST_NARROW_SAMPLES = 6, 64, 12
LONGEST_LOOK_SECONDS = 10.0  # or the run times below, whichever is longer
LONGEST_LOOK_RUNS = 4.0
DRIFT, DRIFT_ERRORS = 0.3, 3.0  # change of the speed at the same slots that starts a new search
DRIFT_SECONDS = 8.0  # of samples that are compared with those before


class Phase(Enum):
    """What the search does."""

    CLIMB = "climb"
    NARROW = "narrow"
    HOLD = "hold"
    TRIAL = "trial"


class Search:
    """The search of one worker."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Begin without measurements."""
        self.phase = Phase.CLIMB
        self._levels: dict[int, Level] = {}
        self._tested: list[int] = []  # numbers that were measured in this search
        self._measured: set[int] = set()  # those of them with enough samples
        self._older: Level | None = None  # earlier samples at the number that is being measured
        self._recent: Level | None = None  # the newest samples at the held number
        self._held = 0  # the number before the trial
        self._pause = FIRST_PAUSE_SECONDS
        self._next_trial_at = 0.0
        self._trials = 0
        self._least = 1  # slots, at the last decision
        self._down_at, self._down_gap = 1, 3  # the next trial with fewer slots, and trials from there to the next

    def decide(self, seen: Observation, least: int, most: int) -> Change | None:
        """Return the next number of slots, within the bounds, or None."""
        level = self._note(seen)
        self._least = least
        if not seen.is_full:
            return None
        match self.phase:
            case Phase.CLIMB:
                change = self._climb(seen, level, most)
            case Phase.NARROW:
                change = self._narrow(seen, level, most)
            case Phase.HOLD:
                change = self._hold(seen, level, most)
            case Phase.TRIAL:
                change = self._judge_trial(seen, level, most)
        return change

    def is_blind(self, seen: Observation) -> bool:
        """Whether nothing is known of this number of slots, as with long jobs at the beginning."""
        level = self._levels.get(seen.slots)
        is_unknown = not seen.samples and (level is None or level.count == 0)
        return is_unknown and self.phase in (Phase.CLIMB, Phase.HOLD)

    def proven(self, slots: int) -> int | None:
        """Return the number before the step of a climb or trial to this number of slots; None: there was none."""
        if self.phase is Phase.TRIAL and self._held < slots:
            return self._held
        lower = [each for each in self._tested if each < slots]
        return max(lower) if self.phase is Phase.CLIMB and lower else None

    def settle(self, at: float, slots: int) -> None:
        """Hold this number, which a guard has decided."""
        self._levels, self._tested, self._measured = {}, [], set()
        self._begin_hold(at, slots, FIRST_PAUSE_SECONDS)

    def _note(self, seen: Observation) -> Level:
        level = self._levels.setdefault(seen.slots, Level(seen.slots, seen.at))
        recent = self._recent
        is_held = self.phase is Phase.HOLD and recent is not None and recent.slots == seen.slots
        (recent if is_held and recent is not None else level).add(seen.samples, seen.running, at=seen.at)
        return level

    # --- climb

    def _climb(self, seen: Observation, level: Level, most: int) -> Change | None:
        if level.count < max(FEWEST_SAMPLES, min(1.5 * level.slots, MOST_CLIMB_SAMPLES)):
            return None
        if level.slots not in self._tested:
            if any(slowdown(self._levels[slots], level) is None for slots in self._tested):
                return None
            refused = self._refusal(level)
            if refused is not None and seen.at - level.since < CONFIRM_SECONDS:
                return None  # a short disturbance must not end the climb
            self._tested.append(level.slots)
            if refused is not None:
                return self._go_on(seen, most, _words(self._levels[refused], level))
        if level.slots >= most:
            return self._go_on(seen, most, f"{level.slots} slots are the most that are allowed now")
        below = [slots for slots in self._tested if slots < level.slots]
        words = f"all {level.slots} slots are in use; testing more"
        words = _words(self._levels[max(below)], level) if below else words
        return Change(slots=min(2 * level.slots, most), reason=Reason.GOODPUT, detail=words)

    def _refusal(self, level: Level) -> int | None:
        """Return the lower level beside which these slots gain too little, or None."""
        for slots in reversed(self._tested):
            slower = slowdown(self._levels[slots], level)
            steps = math.log(level.slots / slots)
            if slower is not None and steps - slower.log + CLIMB_DOUBT * slower.error < WORTH * steps:
                return slots
        return None

    # --- narrow

    def _narrow(self, seen: Observation, level: Level, most: int) -> Change | None:
        if not self._is_measured(seen, level):
            return None
        self._keep(level)
        return self._go_on(seen, most, self._words(level))

    def _keep(self, level: Level) -> None:
        """Add the earlier samples of a level that is measured now."""
        self._measured.add(level.slots)
        if self._older is not None and self._older.slots == level.slots:
            level.absorb(self._older)
        self._older = None

    def _go_on(self, seen: Observation, most: int, words: str) -> Change | None:
        """Test the number that should suffice, or hold it where it was tested."""
        if contradict(self._points(), most):
            return self._start_again(seen, seen.slots // 4, "the measurements contradict each other")
        target = self._best(most)
        if self._is_tested(target) or len(self._tested) > MOST_TESTED:
            self._begin_hold(seen.at, target, FIRST_PAUSE_SECONDS)
            return _change(seen, target, Reason.LATENCY, f"{words}; {target} slots suffice")
        self.phase = Phase.NARROW
        self._test(target, seen.at)
        return _change(seen, target, Reason.LATENCY, f"{words}; {target} slots may suffice")

    def _best(self, most: int) -> int:
        """Return the best number of slots among those up to the most that were tested."""
        measured = self._points()
        return max(best(measured, min(most, max(point.slots for point in measured))), self._least)

    def _points(self) -> list[Point]:
        return points([self._levels[slots] for slots in self._tested])

    def _is_tested(self, target: int) -> bool:
        return any(1 / NEAR <= slots / target <= NEAR for slots in self._measured)

    def _test(self, slots: int, at: float) -> None:
        """Begin to measure at this number of slots, beside earlier samples."""
        self._older = self._levels.get(slots)
        self._levels[slots] = Level(slots, at)
        if slots not in self._tested:
            self._tested.append(slots)

    def _is_measured(self, seen: Observation, level: Level, *, is_clear: bool = False) -> bool:
        """Whether there are enough samples: by their error, or by the time of looking."""
        if level.count < max(FEWEST_NARROW_SAMPLES, min(level.slots, MOST_CLIMB_SAMPLES)):
            return False
        if is_clear:
            return True
        others = [slowdown(self._levels[slots], level) for slots in self._tested if slots != level.slots]
        errors = [other.error for other in others if other is not None]
        if not errors:
            return False
        looked = seen.at - level.since
        run = level.typical_seconds() or 0.0
        return min(errors) <= PRECISE or looked >= max(LONGEST_LOOK_SECONDS, LONGEST_LOOK_RUNS * run)

    def _words(self, level: Level) -> str:
        others = [slots for slots in self._tested if slots != level.slots]
        near = min(others, key=lambda slots: abs(math.log(slots / level.slots)), default=level.slots)
        return _words(self._levels[near], level)

    # --- hold and trial

    def _begin_hold(self, at: float, slots: int, pause: float) -> None:
        self.phase = Phase.HOLD
        self._held = slots
        self._pause = pause
        self._next_trial_at = at + pause
        self._recent = Level(slots, at)

    def _hold(self, seen: Observation, level: Level, most: int) -> Change | None:
        if (drift := self._drift(seen, level)) is not None:
            return self._follow_drift(seen, drift)
        if seen.at < self._next_trial_at or level.count < FEWEST_NARROW_SAMPLES:
            return None
        self._trials += 1
        up = min(max(seen.slots + 1, math.ceil(seen.slots * TRIAL_UP)), most)
        down = max(min(seen.slots - 1, math.ceil(seen.slots / TRIAL_DOWN)), self._least)
        target = up
        if self._trials >= self._down_at:
            target = down
            self._down_at, self._down_gap = self._trials + self._down_gap, 2 * self._down_gap
        if target == seen.slots:
            self._next_trial_at = seen.at + self._pause
            return None
        self.phase = Phase.TRIAL
        self._held = seen.slots
        newest = self._tested[-MOST_TESTED // 2 :]  # older measurements may be of a different time of day
        self._tested = [slots for slots in newest if slots != seen.slots] + [seen.slots]
        self._measured &= set(self._tested)
        self._test(target, seen.at)
        return Change(slots=target, reason=Reason.TRIAL, detail=f"testing {target} slots beside {seen.slots}")

    def _drift(self, seen: Observation, level: Level) -> Slowdown | None:
        """Compare the newest samples with those before; return a significant difference."""
        recent = self._recent
        if recent is None or recent.slots != level.slots:
            return None
        run = recent.typical_seconds() or 0.0
        if seen.at - recent.since < max(DRIFT_SECONDS, 2 * run) or recent.count < FEWEST_NARROW_SAMPLES:
            return None
        drift = slowdown(level, recent)
        level.absorb(recent)
        self._recent = Level(level.slots, seen.at)
        return drift if drift is not None and abs(drift.log) > max(DRIFT, DRIFT_ERRORS * drift.error) else None

    def _start_again(self, seen: Observation, slots: int, words: str) -> Change | None:
        """Forget all measurements, and search again from this number, or from the fewest that are allowed."""
        slots = max(slots, self._least)
        self._forget()
        return _change(seen, slots, Reason.CHANGED, f"{words}; searching again")

    def _follow_drift(self, seen: Observation, slower: Slowdown) -> Change | None:
        """Search again, from fewer slots if the jobs have become slower."""
        fewer = math.floor(seen.slots / slower.factor / 2)
        words = f"jobs take {slower.factor:.2f} times as long as {seen.slots} slots explain"
        return self._start_again(seen, fewer if slower.log > 0 else seen.slots, words)

    def _judge_trial(self, seen: Observation, level: Level, most: int) -> Change | None:
        held = self._levels[self._held]
        slower = slowdown(held, level)
        if slower is None:
            return None
        steps = math.log(level.slots / held.slots)
        margin = steps - slower.log - (2 * WORTH * steps if steps > 0 else LATENCY_PRICE * slower.log)
        if not self._is_measured(seen, level, is_clear=abs(margin) > CLEAR_ERRORS * slower.error):
            return None
        words = _words(held, level)
        if steps > 0 and margin > CLIMB_ERRORS * slower.error:
            self.phase = Phase.CLIMB
            self._tested, self._measured = [held.slots, level.slots], {held.slots, level.slots}
            return _change(seen, min(2 * level.slots, most), Reason.GOODPUT, words)
        if slower.log - max(steps, 0.0) > max(DRIFT, DRIFT_ERRORS * slower.error):  # slower than any number explains
            return self._follow_drift(seen, slower)
        self._keep(level)
        target = self._best(min(most, 2 * held.slots))  # levels far away were measured long ago
        if 1 / NEAR <= target / held.slots <= NEAR:
            self._begin_hold(seen.at, held.slots, min(self._pause * 2, LONGEST_PAUSE_SECONDS))
            return Change(slots=held.slots, reason=Reason.TRIAL, detail=words)
        return self._go_on(seen, most, words)


def _change(seen: Observation, slots: int, reason: Reason, detail: str) -> Change | None:
    return None if slots == seen.slots else Change(slots=slots, reason=reason, detail=detail)


def _words(before: Level, after: Level) -> str:
    """Describe a comparison."""
    slower = slowdown(before, after)
    if slower is None:
        return f"{after.slots} slots are in use"
    gain = after.slots / before.slots / slower.factor
    return (
        f"{after.slots} slots gave {gain:.2f} times the goodput of {before.slots}, "
        f"with {slower.factor:.2f} times the run time"
    )
