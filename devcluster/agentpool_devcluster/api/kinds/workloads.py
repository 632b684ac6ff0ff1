"""Deployments, ReplicaSets and similar owners of pod templates: defaults and rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.kinds.names import label_problems
from agentpool_devcluster.api.kinds.pods import default_pod_spec, pod_spec_problems
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.schema.validation import shown
from agentpool_devcluster.api.selectors import selector_matches

_REVISION_HISTORY = 10  # old ReplicaSets kept
_PROGRESS_DEADLINE_SECONDS = 600


def default_template(body: Json) -> None:
    """Fill in the defaults of spec.template, in place."""
    template = (body.get("spec") or {}).get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        default_pod_spec(template["spec"])


def default_deployment(body: Json) -> None:
    """Fill in the defaults of a Deployment, in place."""
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", _REVISION_HISTORY)
    spec.setdefault("progressDeadlineSeconds", _PROGRESS_DEADLINE_SECONDS)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    default_template(body)


def default_replica_set(body: Json) -> None:
    """Fill in the defaults of a ReplicaSet, in place."""
    body.setdefault("spec", {}).setdefault("replicas", 1)
    default_template(body)


def default_stateful_set(body: Json) -> None:
    """Fill in the defaults of a StatefulSet, in place."""
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", _REVISION_HISTORY)
    update = spec.setdefault("updateStrategy", {})
    if update.setdefault("type", "RollingUpdate") == "RollingUpdate":
        update.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    default_template(body)


def default_daemon_set(body: Json) -> None:
    """Fill in the defaults of a DaemonSet, in place."""
    spec = body.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", _REVISION_HISTORY)
    update = spec.setdefault("updateStrategy", {})
    if update.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = update.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    default_template(body)


def default_job(body: Json) -> None:
    """Fill in the defaults of a Job, in place."""
    spec = body.setdefault("spec", {})
    spec.setdefault("parallelism", 1)
    spec.setdefault("completions", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    default_template(body)


def workload_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield the problems of an owner of pods that finds them by spec.selector."""
    spec = body.get("spec") or {}
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        yield Cause(
            reason="FieldValueInvalid",
            message=f"Invalid value: {replicas}: must be greater than or equal to 0",
            field="spec.replicas",
        )
    yield from _selector_problems(spec, (old or {}).get("spec") if old else None)
    template = spec.get("template")
    if not isinstance(template, dict):
        yield Cause(reason="FieldValueRequired", message="Required value", field="spec.template")
    else:
        yield from _template_problems(template)


def _template_problems(template: Json) -> Iterator[Cause]:
    pod = template.get("spec") or {}
    yield from label_problems((template.get("metadata") or {}).get("labels"), "spec.template.labels")
    yield from pod_spec_problems(pod, "spec.template.spec")
    policy = pod.get("restartPolicy")
    if policy != "Always":
        yield Cause(
            reason="FieldValueNotSupported",
            message=f'Unsupported value: {shown(policy)}: supported values: "Always"',
            field="spec.template.spec.restartPolicy",
        )


def _selector_problems(spec: Json, old: Any) -> Iterator[Cause]:
    selector = spec.get("selector")
    if not isinstance(selector, dict):
        yield Cause(reason="FieldValueRequired", message="Required value", field="spec.selector")
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector_matches(selector, labels):
        yield Cause(
            reason="FieldValueInvalid",
            message=f"Invalid value: {shown(labels)}: `selector` does not match template `labels`",
            field="spec.template.metadata.labels",
        )
    if isinstance(old, dict) and old.get("selector") != selector:
        yield Cause(
            reason="FieldValueInvalid",
            message=f"Invalid value: {shown(selector)}: field is immutable",
            field="spec.selector",
        )
