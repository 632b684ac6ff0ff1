"""Parse a request's path and method into resource, object, subresource and verb.

kubectl sends a kubeconfig's bearer token over TLS only. For plain HTTP on the loopback the path may therefore start
with the token: the server's address in the kubeconfig ends with the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_READ = {True: "get", False: "list"}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_TOKEN_PREFIX = "/token/"  # noqa: S105 - the word, not a secret
_GROUP_STEPS = {"api": 2, "apis": 3}  # parts of a path up to and with the version
_OWN_STEPS = 2  # parts of the path of a Namespace object
_INNER_STEPS = 3  # parts of the shortest path within a namespace
_TRUE = ("1", "true", "True", "t", "T", "TRUE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of a path of the resource API."""

    group: str  # API group, empty for core
    version: str  # API version
    plural: str = ""  # resource; empty: the API version
    namespace: str | None = None  # None: cluster-scoped, or all namespaces
    name: str = ""  # object; empty: the collection
    subresource: str = ""  # status, scale, log…; empty: the object
    rest: str = ""  # path after the subresource, for proxies


def token_prefix(token: str) -> str:
    """Return the path prefix of a client that carries its token in the path."""
    return f"{_TOKEN_PREFIX}{token}"


def split_token(path: str) -> tuple[str, str]:
    """Return the token at the start of a path, empty if there is none, and the rest of the path."""
    if not path.startswith(_TOKEN_PREFIX):
        return "", path
    token, slash, rest = path.removeprefix(_TOKEN_PREFIX).partition("/")
    return token, slash + rest


def parse_target(path: str) -> Target | None:
    """Return the target of a path; None if the path does not belong to the resource API."""
    parts = path.strip("/").split("/")
    if len(parts) < _GROUP_STEPS.get(parts[0], len(parts) + 1):
        return None
    if parts[0] == "api":
        return _resource("", parts[1], parts[2:])
    return _resource(parts[1], parts[2], parts[3:])


def _resource(group: str, version: str, parts: list[str]) -> Target:
    namespace: str | None = None
    is_namespace = not group and parts[:1] == ["namespaces"]
    if is_namespace and (len(parts) <= _OWN_STEPS or parts[2] in ("status", "finalize")):
        pass  # the Namespace object
    elif parts[:1] == ["namespaces"] and len(parts) >= _INNER_STEPS:
        namespace, parts = parts[1], parts[2:]
    padded = [*parts, "", "", ""]
    return Target(
        group=group,
        version=version,
        plural=padded[0],
        namespace=namespace,
        name=padded[1],
        subresource=padded[2],
        rest="/".join(parts[3:]),
    )


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """Return the Kubernetes verb of a request."""
    if method in ("GET", "HEAD"):
        return "watch" if is_true(query.get("watch")) else _READ[bool(target.name)]
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return _VERBS.get(method, method.lower())


def is_true(text: str | None) -> bool:
    """Read a boolean query parameter."""
    return text in _TRUE
