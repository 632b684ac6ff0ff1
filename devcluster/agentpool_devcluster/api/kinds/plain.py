"""The small built-in kinds: services, secrets, namespaces, bindings, autoscalers: defaults and rules."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.objects import Json

_RBAC = "rbac.authorization.k8s.io"
_ADDRESSES = itertools.count(10)  # next free address of the service network


def default_service(body: Json) -> None:
    """Fill in the defaults of a Service, in place; addresses come from 10.96.0.0/16 and lead nowhere."""
    spec = body.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if kind == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if not spec.get("clusterIP"):
        number = next(_ADDRESSES)
        spec["clusterIP"] = f"10.96.{number // 250 % 256}.{number % 250 + 1}"
    spec.setdefault("clusterIPs", [spec["clusterIP"]])


def keep_service_address(new: Json, old: Json) -> None:
    """Keep a Service's address in an update that omits the address."""
    for field in ("clusterIP", "clusterIPs"):
        if not new.get("spec", {}).get(field) and field in old.get("spec", {}):
            new.setdefault("spec", {})[field] = old["spec"][field]


def default_secret(body: Json) -> None:
    """Move stringData into data, encoded, in place."""
    body.setdefault("type", "Opaque")
    plain = body.pop("stringData", None)
    if isinstance(plain, dict):
        data = body.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def default_namespace(body: Json) -> None:
    """Set the label and the finalizer of a Namespace, in place."""
    body["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = body["metadata"].get("name", "")
    spec = body.setdefault("spec", {})
    spec.setdefault("finalizers", ["kubernetes"])


def default_binding(body: Json) -> None:
    """Fill in the API groups of a role binding, in place."""
    if isinstance(body.get("roleRef"), dict):
        body["roleRef"].setdefault("apiGroup", _RBAC)
    for subject in body.get("subjects") or ():
        if isinstance(subject, dict) and subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def default_priority_class(body: Json) -> None:
    """Fill in the defaults of a PriorityClass, in place."""
    body.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_autoscaler(body: Json) -> None:
    """Fill in the defaults of a HorizontalPodAutoscaler, in place."""
    body.setdefault("spec", {}).setdefault("minReplicas", 1)


def immutable_data_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield a refusal if an immutable ConfigMap or Secret would change."""
    if old is None or not old.get("immutable"):
        return
    for field in ("data", "binaryData", "immutable"):
        if body.get(field) != old.get(field):
            yield Cause(
                reason="FieldValueForbidden",
                message="Forbidden: field is immutable when `immutable` is set",
                field=field,
            )


def secret_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield the problems of a Secret."""
    for key, value in (body.get("data") or {}).items():
        try:
            base64.b64decode(str(value), validate=True)
        except ValueError:
            yield Cause(
                reason="FieldValueInvalid",
                message='Invalid value: "<secret>": must be base64; use stringData for plain text',
                field=f"data[{key}]",
            )
    if old is not None and old.get("type") != body.get("type"):
        yield Cause(
            reason="FieldValueInvalid", message=f'Invalid value: "{body.get("type")}": field is immutable',
            field="type",
        )  # fmt: skip
    yield from immutable_data_problems(body, old)


def service_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield the problems of a Service."""
    spec = body.get("spec") or {}
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield Cause(reason="FieldValueRequired", message="Required value", field="spec.ports")
    before = ((old or {}).get("spec") or {}).get("clusterIP")
    if before and spec.get("clusterIP") != before and spec.get("type") != "ExternalName":
        yield Cause(
            reason="FieldValueInvalid",
            message=f'Invalid value: "{spec.get("clusterIP")}": field is immutable',
            field="spec.clusterIP",
        )


def binding_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield a refusal if a role binding would change its role."""
    if old is not None and old.get("roleRef") != body.get("roleRef"):
        yield Cause(reason="FieldValueInvalid", message="Invalid value: cannot change roleRef", field="roleRef")
