"""Rechecks: a long answer lasts no longer than its caller's token and permission.

Streams are checked again every `recheck_s`, and end with a problem document as their last event; a long-poll is checked
at the same interval and before its answer. A failed check (the API server is away) is tolerated once; the second
failure in a row ends the stream. The caller reconnects with a valid token.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from agentpool_core.errors import AgentPoolError, ClusterError
from agentpool_core.text import frames_of
from agentpool_gateway.http.problems import ProblemError

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission
    from agentpool_gateway.access.authority import Verb

log = logging.getLogger(__name__)
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


async def check(admission: Admission, verb: Verb) -> None:
    """Check the caller's token and permission again. Raises ProblemError or ClusterError."""
    request = admission.request
    caller = await admission.gateway.authority.caller(request.token, client=request.client)
    await admission.gateway.authority.check(caller, verb, request.pool)


async def wait_until_refused(admission: Admission) -> AgentPoolError:
    """Wait until a stream's caller loses its permission; return the reason."""
    failed = False
    while True:
        await asyncio.sleep(admission.gateway.settings.recheck_s)
        try:
            await check(admission, admission.verb)
        except AgentPoolError as error:
            if failed or (isinstance(error, ProblemError) and error.status in REFUSED):
                return error
            failed = True
        except Exception as error:  # noqa: BLE001 - an unexpected error must not leave a stream unchecked
            log.warning("the token of a stream cannot be checked:\n%s", frames_of(error))
            if failed:
                return ClusterError(f"the token cannot be checked ({type(error).__name__})")
            failed = True
        else:
            failed = False
