"""The user's pod template: free, but of Kubernetes' shape where the operator adds its own fields.

The resource's schema leaves the template open, because its fields belong to Kubernetes and differ between versions. The
API server checks the whole template when the Deployment is written; the checks here concern templates that would not
get that far. `worker` uses it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

Json = dict[str, Any]


class _Variable(BaseModel):
    name: str
    value: str = ""


class _Resources(BaseModel):
    limits: Json = {}
    requests: Json = {}


class _Mount(BaseModel):
    mountPath: str = "/"  # noqa: N815 - as Kubernetes writes it


class _Container(BaseModel):
    name: str
    env: list[_Variable] = []
    ports: list[Json] = []
    resources: _Resources = _Resources()
    volumeMounts: list[_Mount] = []  # noqa: N815 - as Kubernetes writes it
    securityContext: Json = {}  # noqa: N815
    lifecycle: Json = {}


class _Pod(BaseModel):
    containers: list[_Container] = []
    volumes: list[Json] = []
    initContainers: list[_Container] = []  # noqa: N815 - as Kubernetes writes it


class _Metadata(BaseModel):
    labels: dict[str, str] = {}


class _Template(BaseModel):
    metadata: _Metadata = _Metadata()
    spec: _Pod = _Pod()


def pod_template(value: Json) -> Json:
    """Return the template without nulls, which mean absence. Raises ValueError naming the part with a wrong shape."""
    template: Json = _without_nulls(value)
    try:
        _Template.model_validate(template)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path} is {first['input']!r:.60}, which no pod template has there: {first['msg']}") from None
    return template


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value if part is not None]
    return value
