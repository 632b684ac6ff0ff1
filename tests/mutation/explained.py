"""Changes that no test should have to notice, each with its reason: module, line, changed line.

A survivor belongs here only if the changed program does the same, or if the difference is no promise of ours.
"""

from __future__ import annotations

_POSITIONS = "allows a further way to call, which no caller uses"
_ENUM = "the same: members of an enumeration are equal only to themselves"
_SECONDS = "a second more or less of a time limit; the tests set shorter ones"
_FROZEN = "the same: no code changes a value; the types forbid it"
_SLOTS = "the same, with more memory for each value"

_DATACLASS = "@dataclass(frozen=True, kw_only=True, slots=True)"
_THAWED = "@dataclass(frozen=False, kw_only=True, slots=True)"
_SLOTLESS = "@dataclass(frozen=True, kw_only=True, slots=False)"
_CALLER = 'async def caller(self, token: str | None, *, client: str = "") -> Caller:'
_DRAIN = "def __init__(self, *, claims: ClaimLoop, running_jobs: RunningJobs, metrics: WorkerMetrics) -> None:"
_CHECKPOINT = "CHECKPOINT_SECONDS = {}  # for jobs to reach their next checkpoint once their time is over"
_REQUEUE = (
    "REQUEUE_SECONDS = {}  # for cancelled handlers to tidy up; with the above, well within the pod's 15 s of grace"
)
_LIMIT = "limit = min(allowed) if rules.select {} SelectPolicy.MAX else max(allowed)"
_DIVIDED = "divided: bool = {}  # whether limits of keys, tenants or kinds hold jobs back"
_METHODS = 'return sorted(found {} ({{"HEAD"}} if "GET" in found else set()))'

EXPLAINED: dict[tuple[str, str, str], str] = {
    ("authority", _DATACLASS, _SLOTLESS): _SLOTS,
    ("authority", _CALLER, _CALLER.replace("*, ", "/, ")): _POSITIONS,
    ("authority", "if verb is not Verb.READ:", "if verb != Verb.READ:"): _ENUM,
    ("behavior", _LIMIT.format("is"), _LIMIT.format("==")): _ENUM,
    (
        "demand",
        _DIVIDED.format("False"),
        _DIVIDED.format("True"),
    ): "the same: `demand` always sets it",
    ("drain", "if TYPE_CHECKING:", "if not TYPE_CHECKING:"): "the same: imports that only the type checker needs",
    ("drain", _DRAIN, _DRAIN.replace("*, ", "/, ")): _POSITIONS,
    ("drain", _CHECKPOINT.format("5.0"), _CHECKPOINT.format("4.0")): _SECONDS,
    ("drain", _CHECKPOINT.format("5.0"), _CHECKPOINT.format("6.0")): _SECONDS,
    ("drain", _REQUEUE.format("3.0"), _REQUEUE.format("2.0")): _SECONDS,
    ("drain", _REQUEUE.format("3.0"), _REQUEUE.format("4.0")): _SECONDS,
    ("static_tokens", _DATACLASS, _THAWED): _FROZEN,
    ("table", _METHODS.format("|"), _METHODS.format("^")): "the same: no row of the table has the method HEAD",
}
