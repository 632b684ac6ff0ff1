"""What an answer of the API server means, by its status and, where that misleads, by its words."""

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
)  # as it answers other writes, with a 400
UNASKED = 'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: no such service'


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(500, "etcd is away", BusyError), (500, TYPED, InvalidObjectError),
     (500, QUANTITY, InvalidObjectError), (500, UNASKED, WebhookError), (400, STRICT, InvalidObjectError),
     (409, "changed", ClashError), (429, "later", BusyError), (401, "Unauthorized", BusyError),
     (403, "forbidden", ForbiddenError)],
)  # fmt: skip
def test_what_does_not_fit_the_kind_is_the_users_mistake_whatever_the_status(status, message, kind):
    """Only what passes by itself is worth another attempt."""
    assert type(refusal(request="PATCH /x", status=status, message=message, retry_after_s=None)) is kind


@pytest.mark.parametrize("detail", [TYPED, STRICT])
def test_a_refused_template_names_the_field_as_the_user_wrote_it(detail):
    """The Deployment's path is translated back to the AgentPool's."""
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
def test_what_others_forbid_is_not_blamed_on_the_template(detail):
    """A quota, a policy or missing rights: the words of who forbids it reach the user."""
    problem = _refusal_problem(detail)
    assert problem.reason == "DeploymentForbidden"
    assert detail in problem.message
