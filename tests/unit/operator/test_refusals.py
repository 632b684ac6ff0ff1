"""What an answer of the API server means, by its status and, where that misleads, by its words."""

from __future__ import annotations

import pytest

from agentpool_operator.apply import _refused
from agentpool_operator.refusals import BusyError, ClashError, InvalidObjectError, refusal

TYPED = (
    "failed to create typed patch object (ns/p; apps/v1, Kind=Deployment): "
    ".spec.template.spec.nodeSelectr: field not declared in schema"
)  # as a kube-apiserver answers, with a 500
STRICT = (
    'Deployment in version "v1" cannot be handled as a Deployment: '
    'strict decoding error: unknown field "spec.template.spec.nodeSelectr"'
)  # as it answers other writes, with a 400


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [(500, "etcd is away", BusyError), (500, TYPED, InvalidObjectError), (400, STRICT, InvalidObjectError),
     (409, "changed", ClashError), (429, "later", BusyError)],
)  # fmt: skip
def test_an_unknown_field_is_the_users_mistake_whatever_the_status(status, message, kind):
    """Only what passes by itself is worth another attempt."""
    assert type(refusal(request="PATCH /x", status=status, message=message, retry_after_s=None)) is kind


@pytest.mark.parametrize("detail", [TYPED, STRICT])
def test_a_refused_template_names_the_field_as_the_user_wrote_it(detail):
    """The Deployment's path is translated back to the AgentPool's."""
    problem = _refused(detail)
    assert problem.reason == "TemplateRefused"
    assert "spec.worker.template.spec.nodeSelectr" in problem.message
    assert " .spec" not in problem.message
