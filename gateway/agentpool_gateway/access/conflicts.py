"""Submits that affect the earlier job of their idempotency key, which may be the job of a different caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agentpool_core.jobs import OnConflict
from agentpool_gateway.access.authority import Verb

if TYPE_CHECKING:
    from agentpool_core.queue.webhook_submits import Submission
    from agentpool_gateway.access.admission import Admission

_CANCELS = frozenset({OnConflict.REPLACE, OnConflict.CANCEL_RUNNING})


async def check_conflicts(admission: Admission, submits: Iterable[Submission]) -> None:
    """Refuse to cancel an earlier job, or to send its end to a webhook, without `manage`. Raises ProblemError (403)."""
    for wanted, hook in submits:
        if wanted.on_conflict in _CANCELS or (wanted.on_conflict is OnConflict.KEEP and hook is not None):
            await admission.request.admit(Verb.MANAGE)
            return
