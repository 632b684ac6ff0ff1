"""Names of kinds: submit, handlers and routes use the same grammar."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from agentpool_core.errors import HandlerError, InvalidJobError
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue.codec.requests import arguments
from agentpool_core.spec.routes import RouteSpec
from agentpool_worker import App


def submitted(kind: str) -> None:
    """The producer's check of a request."""
    arguments(JobRequest(kind=kind), JobId("i"))


def handled(kind: str) -> None:
    """A handler's registration."""
    App().handler(kind)(lambda payload, ctx: None)


def routed(kind: str) -> None:
    """A route of an AgentPool."""
    RouteSpec(name="r", kinds=[kind])


ROOMS = pytest.mark.parametrize("taken_by", [submitted, handled, routed])


@ROOMS
@pytest.mark.parametrize("kind", ["k", "code-generation", "team/code.v2_b", "K" * 63])
def test_a_kind_that_a_producer_accepts_is_accepted_everywhere(taken_by: Callable[[str], None], kind: str):
    """A kind that can be submitted can be handled and routed."""
    taken_by(kind)


@ROOMS
@pytest.mark.parametrize("kind", ["", "a:b", "a-", "-a", "two words", "k\n", "é", "k" * 64])
def test_a_kind_without_a_possible_handler_is_refused_everywhere(taken_by: Callable[[str], None], kind: str):
    """Submit refuses a kind that no handler could serve."""
    with pytest.raises((InvalidJobError, HandlerError, ValidationError)):
        taken_by(kind)
