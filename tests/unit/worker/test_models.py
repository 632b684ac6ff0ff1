"""Pydantic models of handlers: instances in, JSON out, and schemas that a queue accepts."""

from __future__ import annotations

import functools
import json
import math
import operator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

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


class Prompt(BaseModel):
    """A payload with a long text."""

    size: int
    prompt: str


PARTS = [create_model(f"Part{number}", kind=(int, number), size=(int, ...)) for number in range(20)]
Wide: Any = RootModel[list[functools.reduce(operator.or_, PARTS)]]


class Rows(BaseModel):
    """A payload with as many places as its sender likes, and names that he chooses."""

    rows: list[int] = []
    named: dict[str, int] = {}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"rows": [None] * 1_001}, "payload.rows[0]: the value is not of type"),
        ({"named": {"\x1b\n" + "k" * 10_000: None}}, "payload.named.\\u001b\\n"),
    ],
)
async def test_an_error_of_a_hostile_payload_is_short(payload, error):
    """The list of all differences would take hundreds of bytes for each two of the payload."""

    def count(payload: Rows) -> int:
        return len(payload.rows)

    job = JobUnderTest(count, payload)
    assert await job.run() == "failed"
    assert error in job.error
    assert len(job.error) < 1_000


async def test_a_large_payload_is_compared_with_the_schema_before_pydantic_lists_all_differences(monkeypatch):
    """Of a union pydantic lists the differences from each member, for each value: a long list would fill the memory."""
    monkeypatch.setattr(Wide, "model_validate_json", lambda _text: pytest.fail("pydantic has read the payload"))

    def count(payload: Wide) -> int:
        return len(payload.root)

    job = JobUnderTest(count, [{"kind": 1}] * 1_001)
    assert await job.run() == "failed"
    assert "payload[0]: " in job.error
    assert "(the payload does not fit RootModel[" in job.error


async def test_very_many_differences_are_counted_and_not_listed():
    """A list of them would take hundreds of bytes for each value and member of the union."""

    def count(payload: Wide) -> int:
        return len(payload.root)

    job = JobUnderTest(count, [{"kind": 1}] * 60)
    assert await job.run() == "failed"
    assert "payload: 1200 differences (the payload does not fit" in job.error


async def test_a_large_payload_that_fits_reaches_the_handler():
    """The comparison with the schema changes no payload."""

    def total(payload: Rows) -> int:
        return sum(payload.rows)

    job = JobUnderTest(total, {"rows": [1] * 2_000})
    assert await job.run() == "succeeded"
    assert job.result == 2_000


async def test_a_long_text_is_one_value():
    """Its commas part no values: pydantic reads a number from a text beside a long prompt as beside a short one."""

    def size(payload: Prompt) -> int:
        return payload.size

    job = JobUnderTest(size, {"size": "5", "prompt": 'a, "quoted" text, ' * 1_000})
    assert (await job.run(), job.result) == ("succeeded", 5)


def test_an_annotation_that_cannot_be_evaluated_is_no_model():
    """A text as annotation may be any expression, which so far nobody has evaluated."""

    def odd(payload):
        return payload

    odd.__annotations__ = {"payload": "{}['k']", "return": "1 / 0"}

    app = App()
    app.handler("odd")(odd)
    assert app.schemas() == ()


class Endless(BaseModel):
    """A default that JSON cannot express."""

    share: float = math.nan


class Broken(BaseModel):
    """A schema that the model's own method fails to write."""

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> dict[str, Any]:
        raise KeyError("no schema")


class Half(BaseModel):
    """A text that UTF-8 cannot express."""

    name: str = Field(description="\ud800")


@pytest.mark.parametrize("model", [Endless, Broken, Half])
async def test_a_model_without_a_schema_ends_no_worker(model):
    """The error is one that a worker reports and continues; its jobs get instances as before."""

    def odd(payload) -> str:
        return type(payload).__name__

    odd.__annotations__["payload"] = model
    app = App()
    app.handler("odd")(odd)
    with pytest.raises(HandlerError, match=f"cannot check {model.__name__}"):
        app.schemas()
    job = JobUnderTest(odd, {"name": "x"})
    assert await job.run() == "succeeded", job.error
    assert job.result == model.__name__


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
