"""Errors of the Kubernetes API; subclasses of `agentpool_core.errors.ClusterError`.

ClusterError
├── ClusterRefusalError         the API server refused; `status` is the HTTP status
│   ├── NotThereError           404
│   ├── ClashError              409: changed meanwhile
│   ├── ExpiredError            410: the resourceVersion is too old, list again
│   ├── ForbiddenError          403
│   ├── WebhookError            500 for an unreachable admission webhook
│   ├── InvalidObjectError      400, 422, and 500 for an apply that does not fit the kind
│   └── BusyError               401, 429, 5xx: try again after `retry_after_s`
└── ForeignAnswerError          the answer is none of a Kubernetes API

Without any answer, `agentpool_core.errors.ClusterUnreachableError` is raised.
"""

from __future__ import annotations

from agentpool_core.errors import ClusterError

TOO_MANY_REQUESTS = 429  # HTTP status
FIRST_SERVER_ERROR = 500  # HTTP status


class ClusterRefusalError(ClusterError):
    """The API server refused `request` with `status`."""

    def __init__(self, *, request: str, status: int, message: str, retry_after_s: float | None = None) -> None:
        self.request = request
        self.status = status
        self.retry_after_s = retry_after_s
        self.message = message
        super().__init__(f"{request}: {status}: {message}")

    @property
    def passing(self) -> bool:
        """Return whether the server may accept the same request a little later."""
        return self.status == TOO_MANY_REQUESTS or self.status >= FIRST_SERVER_ERROR


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


class ForeignAnswerError(ClusterError):
    """The answer is none of a Kubernetes API, such as the page of a proxy."""

    def __init__(self, request: str) -> None:
        self.request = request
        super().__init__(f"{request}: the answer is no JSON object", remedy="check what is behind the server's address")


_BY_STATUS: dict[int, type[ClusterRefusalError]] = {
    400: InvalidObjectError,
    401: BusyError,
    403: ForbiddenError,
    404: NotThereError,
    409: ClashError,
    410: ExpiredError,
    422: InvalidObjectError,
    TOO_MANY_REQUESTS: BusyError,
}
MISFITS = (  # messages of a 500 (kubernetes/kubernetes#139253)
    "failed to create typed patch object",  # an unknown field, a value of the wrong type, two items with the same key
    "failed to convert new object",  # a value that only its kind can parse, such as a quantity
)
WEBHOOK_FAILED = "failed calling webhook"  # also a 500, until the webhook answers again


def refusal(*, request: str, status: int, message: str, retry_after_s: float | None) -> ClusterRefusalError:
    """Return the error for an HTTP status."""
    if status < FIRST_SERVER_ERROR:
        kind = _BY_STATUS.get(status, ClusterRefusalError)
    elif WEBHOOK_FAILED in message:
        kind = WebhookError
    else:
        kind = InvalidObjectError if any(words in message for words in MISFITS) else BusyError
    return kind(request=request, status=status, message=message, retry_after_s=retry_after_s)
