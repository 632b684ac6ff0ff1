"""Exceptions for the failures of a Kubernetes API server.

    KubeError
    ├── KubeconfigError       the kubeconfig cannot be used
    ├── NameRefusedError      a name that no object can have
    ├── UnreachableError      no answer: the request may or may not have been served
    └── ApiError              the server refused (`code`, `reason`, `message` of its Status)
        ├── NotFoundError         404
        ├── AlreadyExistsError    409 AlreadyExists
        ├── ConflictError         409 Conflict: written since the last read, read again
        ├── ExpiredError          410: the resourceVersion is too old, list again
        └── InvalidError          422

`aiohttp`'s own errors never leave the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class KubeError(Exception):
    """The base of all."""


class KubeconfigError(KubeError):
    """A kubeconfig that cannot be read or lacks required fields."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"kubeconfig {path!r}: {problem}; check --kubeconfig or the KUBECONFIG variable")


class NameRefusedError(KubeError):
    """A name that would lead elsewhere in a path, such as `..`; nothing was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no object of Kubernetes can be named {name!r}; use the object's own name")


class UnreachableError(KubeError):
    """The server did not answer."""

    def __init__(self, server: str, cause: BaseException) -> None:
        self.server = server
        super().__init__(f"the Kubernetes API at {server} did not answer: {str(cause) or type(cause).__name__}")


class ApiError(KubeError):
    """The server refused a request."""

    def __init__(self, *, code: int, reason: str, message: str) -> None:
        self.code = code
        self.reason = reason
        self.message = message
        super().__init__(f"{message} ({code} {reason})")


class NotFoundError(ApiError):
    """No such object."""


class AlreadyExistsError(ApiError):
    """An object of that name exists."""


class ConflictError(ApiError):
    """The object changed since it was read, or a precondition does not hold."""


class ExpiredError(ApiError):
    """The asked resourceVersion is no longer held by the server."""


class InvalidError(ApiError):
    """The object violates its schema."""


_BY_CODE: Mapping[int, type[ApiError]] = {
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidError,
}


def api_error(code: int, status: Mapping[str, Any]) -> ApiError:
    """Return the exception for a Status object that came with HTTP status `code`."""
    reason = str(status.get("reason") or "Unknown")
    message = str(status.get("message") or f"the server answered {code} without a message")
    kind = AlreadyExistsError if reason == "AlreadyExists" else _BY_CODE.get(code, ApiError)
    return kind(code=code, reason=reason, message=message)
