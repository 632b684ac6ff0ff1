"""Every refusal of the API server, as an exception that renders itself as a Kubernetes Status object.

The functions below build the refusals that clients distinguish by reason and HTTP code; nothing else in this package
writes a Status for a failure. The HTTP layer turns the exception into a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause of a refusal: a field and its problem."""

    reason: str  # machine-readable, CamelCase, for example FieldValueInvalid
    message: str  # for people
    field: str = ""  # path such as spec.scaling.maxReplicas; empty when no field is to blame

    def as_json(self) -> dict[str, str]:
        """Return the cause in the form of Status.details.causes."""
        found = {"reason": self.reason, "message": self.message}
        return {**found, "field": self.field} if self.field else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The object a refusal is about."""

    group: str  # API group, empty for core
    kind: str  # plural resource name, or the kind for invalid objects, as Kubernetes does
    name: str = ""  # object's name, if known
    uid: str = ""  # object's uid, if known


class StatusError(Exception):
    """A refused request, with all data of a Kubernetes Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        subject: Subject | None = None,
        causes: Sequence[Cause] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.subject = subject
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s  # None: no advice to the client

    def as_status(self) -> dict[str, Any]:
        """Return the Status object that goes to the client."""
        details: dict[str, Any] = {}
        if self.subject is not None:
            named = (("name", self.subject.name), ("group", self.subject.group), ("kind", self.subject.kind))
            details.update({key: value for key, value in named if value})
            if self.subject.uid:
                details["uid"] = self.subject.uid
        if self.causes:
            details["causes"] = [cause.as_json() for cause in self.causes]
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if details:
            status["details"] = details
        return {**status, "code": self.code}


def _qualified(subject: Subject) -> str:
    return f"{subject.kind}.{subject.group}" if subject.group else subject.kind


def not_found(subject: Subject) -> StatusError:
    """Build the 404 for an object that does not exist."""
    return StatusError(404, "NotFound", f'{_qualified(subject)} "{subject.name}" not found', subject=subject)


def not_served(what: str) -> StatusError:
    """Build the 404 for a kind or version of Kubernetes that the devcluster lacks."""
    return StatusError(404, "NotFound", f"the devcluster does not serve {what}")


def no_such_path() -> StatusError:
    """Build the 404 for a path or a resource type that the server does not serve."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(subject: Subject) -> StatusError:
    """Build the 409 for a create of a name that is taken."""
    message = f'{_qualified(subject)} "{subject.name}" already exists'
    return StatusError(409, "AlreadyExists", message, subject=subject)


def conflict(subject: Subject, why: str) -> StatusError:
    """Build the 409 for a write that was based on an old version of the object."""
    message = f'Operation cannot be fulfilled on {_qualified(subject)} "{subject.name}": {why}'
    return StatusError(409, "Conflict", message, subject=subject)


def stale(subject: Subject) -> StatusError:
    """Build the 409 for a resourceVersion that is not the latest."""
    return conflict(
        subject, "the object has been modified; please apply your changes to the latest version and try again"
    )


def invalid(subject: Subject, causes: Sequence[Cause]) -> StatusError:
    """Build the 422 for an object that breaks rules; the subject's kind is the Kind, as Kubernetes does."""
    texts = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{_qualified(subject)} "{subject.name}" is invalid: {joined}'
    return StatusError(422, "Invalid", message, subject=subject, causes=causes)


def bad_request(message: str) -> StatusError:
    """Build the 400 for a request that cannot be understood."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """Build the 401 for a request with an unknown bearer token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def anonymous(path: str) -> StatusError:
    """Build the 403 for a request without a token, as of `kubectl get --raw`, which drops the server's own path."""
    why = (
        'User "system:anonymous" has no rights: the request has no token. kubectl sends tokens over https only, so the '
        "token is part of the server's address in the kubeconfig, which get --raw leaves out; write kubectl get --raw "
        f"/token/TOKEN{path} with that token"
    )
    return forbidden(Subject(group="", kind=path), why)


def forbidden(subject: Subject, why: str) -> StatusError:
    """Build the 403 for a request that the caller may not make."""
    named = f' "{subject.name}"' if subject.name else ""
    return StatusError(403, "Forbidden", f"{_qualified(subject)}{named} is forbidden: {why}", subject=subject)


def method_not_allowed(subject: Subject, verb: str) -> StatusError:
    """Build the 405 for a verb that the resource does not have."""
    message = f"the server does not allow this method on the requested resource ({verb} {_qualified(subject)})"
    return StatusError(405, "MethodNotAllowed", message, subject=subject)


def unsupported_media_type(message: str) -> StatusError:
    """Build the 415 for an unsupported content type of a body."""
    return StatusError(415, "UnsupportedMediaType", message)


def not_acceptable(message: str) -> StatusError:
    """Build the 406 for a response format that cannot be given."""
    return StatusError(406, "NotAcceptable", message)


def expired(message: str) -> StatusError:
    """Build the 410 for a resourceVersion or continue token that is too old."""
    return StatusError(410, "Expired", message)


def too_many_requests(message: str, *, causes: Sequence[Cause] = ()) -> StatusError:
    """Build the 429 for a request that may succeed later.

    It has no time for the next try, as in Kubernetes: a client library would repeat the request unseen, so that
    `kubectl drain` would neither report the refusal nor obey its timeout.
    """
    return StatusError(429, "TooManyRequests", message, causes=causes)


def not_implemented(what: str) -> StatusError:
    """Build the 501 for a part of Kubernetes that the devcluster does not have."""
    message = f"the devcluster does not support {what}; use a real cluster for it"
    return StatusError(501, "NotImplemented", message)


def unavailable(message: str) -> StatusError:
    """Build the 503 for something behind the server that does not answer."""
    return StatusError(503, "ServiceUnavailable", message, retry_after_s=1)
