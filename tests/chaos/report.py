"""The outcome of a chaos run as a readable table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.run import Outcome

SHOWN = 40  # findings


def table(outcome: Outcome) -> str:
    """Faults by kind, jobs by end, and broken promises."""
    losses = sum("and lost" in finding for finding in outcome.findings)
    doubles = sum(" times: " in finding or "under the one token" in finding for finding in outcome.findings)
    rows = [
        *((f"fault: {kind}", count) for kind, count in sorted(outcome.faults.items())),
        ("jobs acknowledged", outcome.acknowledged),
        *((f"jobs {state}", count) for state, count in sorted(outcome.jobs.items())),
        ("submits sent / lost with their connection", f"{outcome.submits} / {outcome.refused}"),
        ("claims", outcome.claims),
        ("waits without a slot / signals stored", f"{outcome.waits} / {outcome.signals}"),
        ("jobs recovered from lost workers", outcome.recovered),
        ("jobs run to the end again, one result kept", outcome.reruns),
        ("jobs lost", losses),
        ("jobs ended or run twice under one claim", doubles),
        (f"longest submit, begun at {outcome.longest_submit_at:.0f} s", f"{outcome.longest_submit_s:.1f} s"),
        ("longest time without a job ending", f"{outcome.longest_silence_s:.1f} s"),
        ("findings", len(outcome.findings)),
    ]
    lines = [f"{name:46}{value!s:>14}" for name, value in rows]
    lines += [f"FOUND: {finding}" for finding in outcome.findings[:SHOWN]]
    if outcome.findings:
        lines += [f"at {at:6.1f} s: {kind}" for at, kind in outcome.timeline]
        lines.append(f"again: make chaos SEED={outcome.seed} SECONDS={outcome.seconds:g}")
    return "\n".join(lines)
