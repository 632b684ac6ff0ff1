"""The interface: a token becomes a caller, and a caller may or may not do something to a pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

from agentpool_core.jobs import PoolRef
from agentpool_gateway.http.problems import ProblemError


class Verb(StrEnum):
    """Permission on a pool, with the corresponding RBAC verb beside."""

    READ = "read"  # jobs, queue, events (get agentpools)
    SUBMIT = "submit"  # new jobs (create agentpools/jobs)
    MANAGE = "manage"  # cancel, replay, purge (delete agentpools/jobs)
    CONFIGURE = "configure"  # pause and resume (patch agentpools)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Sender of a request."""

    name: str  # for logs, metrics and the rate limit; never the token
    key: str  # identifies the caller to the authority


class Authority(Protocol):
    """Decides on permissions. Both methods raise ProblemError for a refusal."""

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        """Return the holder of the token; 401 for an unknown token, 429 for a client address with too many attempts."""

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Raise ProblemError (403) for a caller without the verb."""

    async def close(self) -> None:
        """Close connections."""


def unauthenticated(detail: str) -> ProblemError:
    """Return the 401 for a missing or unknown token, without naming the wrong part."""
    return ProblemError(
        HTTPStatus.UNAUTHORIZED,
        "unauthenticated",
        detail,
        remedy="send the header `Authorization: Bearer TOKEN` with a token of this gateway",
        headers={"WWW-Authenticate": 'Bearer realm="agentpool"'},
    )


def forbidden(caller: Caller, verb: Verb, pool: PoolRef) -> ProblemError:
    """Return the 403 for a known caller, without revealing whether the pool exists."""
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        f"{caller.name} may not {verb} in pool {pool}",
        remedy=f"ask the operator of the gateway to allow {verb} in {pool.namespace}",
    )


class ReadOnly:
    """Any caller may read, and do nothing else: `agentpool mcp --read-only`."""

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        """Return the anonymous caller."""
        return await AllowAll().caller(token, client=client)

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Refuse every verb but `read`."""
        if verb is not Verb.READ:
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "read-only",
                f"{caller.name} may not {verb} in pool {pool}: it is served read-only",
                remedy="serve it without --read-only",
            )

    async def close(self) -> None:
        """Holds nothing."""


class AllowAll:
    """No authentication at all, for a laptop: `--no-auth`."""

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        """Return the anonymous caller."""
        del token, client
        return Caller(name="anonymous", key="anonymous")

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Allow every verb."""

    async def close(self) -> None:
        """Do nothing: there are no connections."""
