"""Role-based access control: may this user do this? Read from the roles and bindings in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentpool_devcluster.api.access.tokens import User
from agentpool_devcluster.api.objects import Json, namespace_of
from agentpool_devcluster.api.store import CollectionKey, ObjectKey, Store

_GROUP = "rbac.authorization.k8s.io"
_ANYTHING = "*"
_READABLE = ("/healthz", "/livez", "/readyz", "/version", "/api", "/apis", "/openapi")  # to every authenticated user


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A requested action."""

    verb: str  # get, list, create…
    group: str = ""  # API group
    resource: str = ""  # plural name
    subresource: str = ""  # empty: the object itself
    namespace: str = ""  # empty: cluster-wide
    name: str = ""  # empty: any
    path: str = ""  # set for non-resource paths, such as /metrics

    @property
    def full_resource(self) -> str:
        """Return the resource in the form of rules, such as pods/log."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an attempt is allowed, and why."""

    allowed: bool
    reason: str


def decide(store: Store, user: User, attempt: Attempt) -> Verdict:
    """Return whether the user may perform the action."""
    if user.is_master:
        return Verdict(allowed=True, reason="the user is in the group system:masters")
    if attempt.path and attempt.path.startswith(_READABLE):
        return Verdict(allowed=True, reason="discovery is open to every authenticated user")
    if attempt.group == "authorization.k8s.io" and attempt.resource.startswith("selfsubject"):
        return Verdict(allowed=True, reason="everyone may ask about themselves")
    for binding, rule in rules_of(store, user, attempt.namespace):
        if covers(rule, attempt):
            return Verdict(allowed=True, reason=f"RBAC: allowed by {binding}")
    return Verdict(allowed=False, reason="")


def rules_of(store: Store, user: User, namespace: str) -> Iterator[tuple[str, Json]]:
    """Yield the rules that hold for a user in a namespace, with the binding each comes from."""
    for _, name, stored in store.collection(CollectionKey(_GROUP, "clusterrolebindings")).items():
        if _binds(stored.body, user):
            for rule in _rules(store, stored.body, ""):
                yield f'ClusterRoleBinding "{name}"', rule
    if not namespace:
        return
    for _, name, stored in store.collection(CollectionKey(_GROUP, "rolebindings")).items(namespace):
        if _binds(stored.body, user):
            for rule in _rules(store, stored.body, namespace):
                yield f'RoleBinding "{name}/{namespace}"', rule


def _binds(binding: Json, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        space = subject.get("namespace") or namespace_of(binding)
        if kind == "ServiceAccount" and user.name == f"system:serviceaccount:{space}:{name}":
            return True
    return False


def _rules(store: Store, binding: Json, namespace: str) -> list[Json]:
    reference = binding.get("roleRef") or {}
    name = str(reference.get("name") or "")
    if reference.get("kind") == "ClusterRole":
        key = ObjectKey(CollectionKey(_GROUP, "clusterroles"), "", name)
    else:
        key = ObjectKey(CollectionKey(_GROUP, "roles"), namespace, name)
    role = store.get(key)
    return list(role.body.get("rules") or ()) if role else []


def covers(rule: Json, attempt: Attempt) -> bool:
    """Return whether a rule allows the action."""
    if not _has(rule.get("verbs"), attempt.verb):
        return False
    if attempt.path:
        return any(
            url == attempt.path or (url.endswith("*") and attempt.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    if not _has(rule.get("apiGroups"), attempt.group):
        return False
    resources = rule.get("resources") or ()
    if not (
        _has(resources, attempt.full_resource) or (attempt.subresource and f"*/{attempt.subresource}" in resources)
    ):
        return False
    names = rule.get("resourceNames")
    return not names or attempt.name in names


def _has(values: object, wanted: str) -> bool:
    return isinstance(values, list | tuple) and (_ANYTHING in values or wanted in values)
