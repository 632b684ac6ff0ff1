"""Errors of the Kubernetes API; subclasses of `agentpool_core.errors.ClusterError`.

ClusterError
└── ClusterRefusalError     `status` is the HTTP status
    ├── NotThereError           404
    ├── ClashError              409: changed meanwhile
    ├── ExpiredError            410: the resourceVersion is too old, list again
    ├── ForbiddenError          403
    ├── WebhookError            500 for an unreachable admission webhook
    ├── InvalidObjectError      400, 422, and 500 for an apply that does not fit the kind
    └── BusyError               401, 429, 5xx: try again after `retry_after_s`
└── NotLeadingError             a write stopped because a different operator may lead
"""

from __future__ import annotations

from agentpool_core.errors import ClusterError


class ClusterRefusalError(ClusterError):
    """The API server refused `request` with `status`."""

    def __init__(self, *, request: str, status: int, message: str, retry_after_s: float | None = None) -> None:
        self.request = request
        self.status = status
        self.retry_after_s = retry_after_s
        self.message = message
        super().__init__(f"{request}: {status}: {message}")


class NotThereError(ClusterRefusalError):
    """404: the object or its kind does not exist."""


class ClashError(ClusterRefusalError):
    """409: the object exists already, or was changed since it was read."""


class ExpiredError(ClusterRefusalError):
    """410: the resourceVersion is too old; list again."""


class ForbiddenError(ClusterRefusalError):
    """403: the operator's account, a quota or a policy does not allow this."""


class WebhookError(ClusterRefusalError):
    """500: a required admission webhook is unreachable; further requests may succeed meanwhile."""


class InvalidObjectError(ClusterRefusalError):
    """400 or 422: the object is invalid. Also 500 for an apply that does not fit its kind."""


class BusyError(ClusterRefusalError):
    """429 or 5xx: the API server cannot serve now. Also 401: the token has expired, and the next token is read."""


class NotLeadingError(ClusterError):
    """A write was stopped because this operator does not lead, or may not lead any more."""


_BY_STATUS: dict[int, type[ClusterRefusalError]] = {
    400: InvalidObjectError,
    401: BusyError,
    403: ForbiddenError,
    404: NotThereError,
    409: ClashError,
    410: ExpiredError,
    422: InvalidObjectError,
    429: BusyError,
}
FIRST_SERVER_ERROR = 500  # HTTP status
MISFITS = (  # said with a 500 (kubernetes/kubernetes#139253)
    "failed to create typed patch object",  # an unknown field, a value of the wrong type, two items with the same key
    "failed to convert new object",  # a value that only its kind can parse, such as a quantity
)
UNASKED = "failed calling webhook"  # said with a 500, too, until the webhook is there again


def refusal(*, request: str, status: int, message: str, retry_after_s: float | None) -> ClusterRefusalError:
    """The error for an HTTP status."""
    if status < FIRST_SERVER_ERROR:
        kind = _BY_STATUS.get(status, ClusterRefusalError)
    elif UNASKED in message:
        kind = WebhookError
    else:
        kind = InvalidObjectError if any(words in message for words in MISFITS) else BusyError
    return kind(request=request, status=status, message=message, retry_after_s=retry_after_s)
