"""Meaning of an error of the API server, by its status and, if the status misleads, by its message."""

from __future__ import annotations

import pytest

from agentpool_core.kube.errors import (
    BusyError,
    ClashError,
    ForbiddenError,
    InvalidObjectError,
    WebhookError,
    refusal,
)
from agentpool_operator.children.applier import _refusal_problem

TYPED = (
    "failed to create typed patch object (ns/p; apps/v1, Kind=Deployment): "
    ".spec.template.spec.nodeSelectr: field not declared in schema"
)  # as a kube-apiserver answers, with a 500
QUANTITY = (
    "failed to convert new object (ns/p; apps/v1, Kind=Deployment) to proper version: unable to convert "
    "unstructured object to apps/v1, Kind=Deployment: quantities must match the regular expression '^([+-]?[0-9.]+)'"
)  # likewise
STRICT = (
    'Deployment in version "v1" cannot be handled as a Deployment: '
    'strict decoding error: unknown field "spec.template.spec.nodeSelectr"'
)  # the API server answers these writes with a 400
UNASKED = 'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: no such service'


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(500, "etcd is away", BusyError), (500, TYPED, InvalidObjectError),
     (500, QUANTITY, InvalidObjectError), (500, UNASKED, WebhookError), (400, STRICT, InvalidObjectError),
     (409, "changed", ClashError), (429, "later", BusyError), (401, "Unauthorized", BusyError),
     (403, "forbidden", ForbiddenError)],
)  # fmt: skip
def test_a_misfit_with_the_kind_is_the_users_mistake_at_any_status(status, message, kind):
    """Only transient errors are retried."""
    assert type(refusal(request="PATCH /x", status=status, message=message, retry_after_s=None)) is kind


@pytest.mark.parametrize("detail", [TYPED, STRICT])
def test_a_refused_template_names_the_field_of_the_agentpool(detail):
    """The Deployment's path is translated back to the AgentPool's path."""
    problem = _refusal_problem(detail)
    assert problem.reason == "TemplateRefused"
    assert "spec.worker.template.spec.nodeSelectr" in problem.message
    assert " .spec" not in problem.message


@pytest.mark.parametrize(
    "detail",
    [
        "deployments.apps \"p\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: ask first",
        'deployments.apps "p" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, limited: 0',
        'deployments.apps "p" is forbidden: User "operator" cannot patch resource "deployments" in API group "apps"',
    ],
)
def test_a_foreign_refusal_is_not_blamed_on_the_template(detail):
    """A quota, a policy or missing rights: the condition repeats the message of the refusal."""
    problem = _refusal_problem(detail)
    assert problem.reason == "DeploymentForbidden"
    assert detail in problem.message
