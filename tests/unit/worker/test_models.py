"""Pydantic models of handlers: instances in, JSON out, and schemas that a queue accepts."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from agentpool_core.errors import HandlerError
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.settings import JobSchema, PoolSettings, Route
from agentpool_core.spec.routes import RouteSpec
from agentpool_worker import App
from agentpool_worker.handlers.models import routes_of
from agentpool_worker.publication import settings_with
from agentpool_worker.testing import JobUnderTest

if TYPE_CHECKING:
    from agentpool_worker.context import Context


class Item(BaseModel):
    """A part of an order."""

    count: int = Field(ge=1)


class Order(BaseModel):
    """A payload, with a name that differs in JSON."""

    model_config = ConfigDict(populate_by_name=True)
    client: str = Field(alias="customer")
    items: list[Item] = []


class Bill(BaseModel):
    """A result."""

    total: int
    lines: list[Item] = []


Orders = RootModel[list[Order]]


class Priced(BaseModel):
    """A model with a pattern that looks ahead."""

    model_config = ConfigDict(regex_engine="python-re")
    price: str = Field(pattern="(?=1)1")


async def bill(payload: Order, ctx: Context) -> Bill:
    """Return a model."""
    return Bill(total=sum(item.count for item in payload.items), lines=payload.items)


def blocking(payload: Order) -> dict[str, Any]:
    """Return models inside a plain value."""
    return {"client": payload.client, "items": payload.items}


async def steps(payload: Order):
    """Publish models as progress."""
    for item in payload.items:
        yield item


async def first(payload: Orders, ctx) -> str:
    """Take a list by its root model."""
    return payload.root[0].client


class Till:
    """Handlers with a state."""

    async def __call__(self, payload: Order, ctx) -> str:
        return payload.client


ORDER = {"customer": "Ada", "items": [{"count": 2}, {"count": 3}]}


@pytest.mark.parametrize(
    ("handler", "payload", "result"),
    [
        (bill, ORDER, {"total": 5, "lines": [{"count": 2}, {"count": 3}]}),
        (blocking, ORDER, {"client": "Ada", "items": [{"count": 2}, {"count": 3}]}),
        (steps, ORDER, {"count": 3}),
        (first, [ORDER], "Ada"),
        (Till(), ORDER, "Ada"),
        (functools.partial(bill), {"customer": "Ada"}, {"total": 0, "lines": []}),
    ],
)
async def test_a_handler_gets_and_returns_models(handler, payload, result):
    """Every shape of handler gets an instance; models in a result, at any depth, are written as JSON."""
    job = JobUnderTest(handler, payload)
    assert await job.run() == "succeeded", job.error
    assert json.loads(encode("result", job.result)) == result


async def test_a_payload_that_does_not_fit_fails_for_good_with_the_path():
    """The error has the path and the model, not the value; a further attempt would get the same payload."""
    job = JobUnderTest(bill, {"customer": "Ada", "items": [{"count": 1}, {"count": "secret"}]})
    assert await job.run() == "failed"
    assert job.attempt == 1
    assert "payload.items[1].count: Input should be a valid integer" in job.error
    assert "does not fit Order" in job.error
    assert "secret" not in job.error


def test_names_for_type_checkers_and_other_types_are_no_models():
    """An annotation that does not exist at run time, or is no model, changes nothing."""
    app = App()

    async def plain(payload: Missing, ctx: Context) -> Missing:  # noqa: F821  # as below TYPE_CHECKING
        return payload

    async def text(payload: dict[str, int]) -> str | None:
        return str(payload)

    app.handler("plain")(plain)
    app.handler("text")(text)
    assert app.schemas() == ()


def test_a_payload_that_is_a_model_in_part_is_refused():
    """The list would arrive as plain JSON, so the registration names the remedy."""

    async def many(payload: list[Order], ctx) -> None:
        del payload

    with pytest.raises(HandlerError, match=r"many: .*pydantic\.RootModel"):
        App().handler("many")(many)


def test_the_schemas_of_an_app_are_a_route_of_an_agentpool():
    """The printed route has all kinds, and its schemas resolve to those that a worker compares."""
    app = App()
    app.handler("bill", "again")(bill)
    app.handler("plain")(lambda payload: payload)
    found = app.schemas()
    assert [schema.kinds for schema in found] == [("again",), ("bill",)]
    assert json.loads(found[0].input)["required"] == ["customer"]
    assert json.loads(found[0].output)["properties"]["total"] == {"title": "Total", "type": "integer"}
    (route,) = routes_of(app.kinds, found)
    assert route["kinds"] == ["again", "bill", "plain"]
    assert tuple(RouteSpec.model_validate(route).resolve_schemas()) == found


def test_a_model_that_a_queue_cannot_check_is_named():
    """The error has the model, the place and the remedy."""
    app = App()

    @app.handler("price")
    async def price(payload: Priced) -> None:
        del payload

    with pytest.raises(HandlerError, match=r"Priced: #.*WithJsonSchema"):
        app.schemas()


def test_a_worker_by_hand_describes_its_own_kinds_only():
    """Schemas of kinds of other workers stay; settings that somebody else has published stay as they are."""
    own, other = JobSchema(kinds=("bill",), input="{}"), JobSchema(kinds=("audit",), input="{}")
    first = settings_with(PoolSettings(), (other,), ("audit",))
    both = settings_with(first, (own,), ("bill", "plain"))
    assert both.schemas == (other, own)
    assert both.routes == (Route(name="default", kinds=("audit", "bill")),)
    assert settings_with(both, (), ("bill",)) == first
    for published in (PoolSettings(max_attempts=1), PoolSettings(routes=(Route(name="work"),))):
        assert settings_with(published, (own,), ("bill",)) == published
    assert settings_with(first, (), None) == first
