"""Bearer tokens and their users.

The administrator's token is in the kubeconfig. Tokens of service accounts are random, known to this process only, and
end with the process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

MASTERS = "system:masters"  # group that may do everything
AUTHENTICATED = "system:authenticated"
API_SERVER = "https://kubernetes.default.svc"  # audience of tokens for this server
_DEFAULT_LIFETIME_SECONDS = 3600
_SERVICE_ACCOUNT_PARTS = 4  # system:serviceaccount:NAMESPACE:NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user of a request."""

    name: str  # as in role bindings
    groups: tuple[str, ...] = ()  # groups the user is in
    uid: str = ""  # of a service account

    @property
    def is_master(self) -> bool:
        """True if the user may do everything."""
        return MASTERS in self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued:
    user: User
    expires_at: float | None  # monotonic seconds; None: never
    audiences: tuple[str, ...] = (API_SERVER,)  # that the token is for


class Tokens:
    """The tokens this server accepts."""

    def __init__(self, admin_token: str | None = None) -> None:
        self.admin_token = admin_token or secrets.token_urlsafe(32)
        admin = User(name="devcluster-admin", groups=(MASTERS, AUTHENTICATED))
        self._issued = {self.admin_token: _Issued(user=admin, expires_at=None)}

    def user_of(self, token: str) -> User | None:
        """Return the user of a token for this server; None if unknown, expired or for other audiences."""
        return self.review(token)[0]

    def review(self, token: str, audiences: Sequence[str] = ()) -> tuple[User | None, list[str]]:
        """Return a token's user and those of the audiences that it is for; none given means this server."""
        found = self._issued.get(token)
        if found is None or (found.expires_at is not None and found.expires_at < time.monotonic()):
            return None, []
        matching = [name for name in audiences or (API_SERVER,) if name in found.audiences]
        return (found.user if matching else None), matching

    def issue(
        self, user: User, *, lifetime_s: float | None = _DEFAULT_LIFETIME_SECONDS, audiences: Sequence[str] = ()
    ) -> str:
        """Return a new token for a user; lifetime None never expires, no audiences mean this server."""
        token = secrets.token_urlsafe(32)
        expires_at = None if lifetime_s is None else time.monotonic() + lifetime_s
        self._issued[token] = _Issued(user=user, expires_at=expires_at, audiences=tuple(audiences) or (API_SERVER,))
        return token


def as_user(name: str, groups: Sequence[str]) -> User:
    """Return the user of a name; service accounts get their groups automatically."""
    parts = name.split(":")
    if parts[:2] == ["system", "serviceaccount"] and len(parts) == _SERVICE_ACCOUNT_PARTS:
        own = service_account(parts[2], parts[3])
        return User(name=name, groups=(*own.groups, *groups))
    return User(name=name, groups=(*groups, AUTHENTICATED))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """Return the user that a service account is."""
    return User(
        name=f"system:serviceaccount:{namespace}:{name}",
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
        uid=uid,
    )
