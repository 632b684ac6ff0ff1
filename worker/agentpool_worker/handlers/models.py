"""Pydantic models as annotations of a handler: an instance in place of the payload, and JSON Schemas of both ends.

A handler `async def greet(payload: Greeting, ctx) -> Greeted` gets a `Greeting`. A payload that does not fit fails the
job for good with the path, because a further attempt would get the same payload. The queue's encoder writes models that
are results. The schemas are published by the AgentPool, which `agentpool schemas` and `agentpool dev` fill in, or by a
worker without an operator; submits are checked by them. pydantic is not imported here: a program that has not imported
pydantic has no models. `agentpool_worker.handlers.app` has the registry.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from agentpool_core.errors import HandlerError, SchemaMismatchError
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.schemas import check_value
from agentpool_core.queue.settings import DEFAULT_ROUTE, JobSchema
from agentpool_core.text import one_line, render_error
from agentpool_worker.exceptions import Permanent

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

MOST_DIFFERENCES = 1_000  # of a payload, beyond which none is named: pydantic lists all, some KiB each
MOST_UNCHECKED = 1_000  # values of a payload; pydantic lists for each one the differences from all members of a union
_PATH_CHARS = 300
_TEXTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')  # of JSON: their commas part no values


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The models that a handler names; None: any JSON value."""

    payload: type[BaseModel] | None = None
    result: type[BaseModel] | None = None

    def parse(self, payload: Any) -> Any:
        """Return the payload as an instance of its model. Raises Permanent with the path of the first difference."""
        if self.payload is None:
            return payload
        text = encode("payload", payload)
        if _TEXTS.sub("", text).count(",") >= MOST_UNCHECKED:
            _check_schema(self.payload, text)
        try:
            return self.payload.model_validate_json(text)
        except sys.modules["pydantic"].ValidationError as error:
            raise Permanent(f"{_first_difference(error)} (the payload does not fit {self.payload.__name__})") from None

    def schema_of(self, kind: str) -> JobSchema | None:
        """Return the schemas of a kind with these models; None without models.

        Raises HandlerError for a model with a schema that a queue does not accept.
        """
        if self.payload is None and self.result is None:
            return None
        return JobSchema(
            kinds=(kind,),
            input=None if self.payload is None else _schema_text(self.payload, "validation"),
            output=None if self.result is None else _schema_text(self.result, "serialization"),
        )


def _check_schema(model: type[BaseModel], text: str) -> None:
    """Raise Permanent with the path of the first difference from the model's schema, the only one that is searched."""
    try:
        check_value("payload", _schema_text(model, "validation"), json.loads(text))
    except SchemaMismatchError as error:
        raise Permanent(f"{error.field}: {error.problem} (the payload does not fit {model.__name__})") from None


def _first_difference(error: ValidationError) -> str:
    """Return path and problem of the first difference; only their number if there are very many."""
    if error.error_count() > MOST_DIFFERENCES:
        return f"payload: {error.error_count()} differences"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = "payload" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"{one_line(path[:_PATH_CHARS])}: {first['msg']}"


def models_of(function: Any, name: str) -> Models:
    """Return the models of a handler's first parameter and of its result.

    Raises HandlerError, with the handler's `name`, for a payload that is only in part a model.
    """
    if "pydantic" not in sys.modules:
        return Models()
    signature = inspect.signature(function)
    first = next(iter(signature.parameters.values()), None)
    payload = None if first is None else _resolve(function, first.annotation)
    if not _is_model(payload) and _contains_model(payload):
        raise HandlerError(
            f"{name}: the payload is annotated with {payload}, which is no model itself",
            remedy="annotate it with a model, such as a subclass of pydantic.RootModel[…]",
        )
    result = _resolve(function, signature.return_annotation)
    return Models(payload=payload if _is_model(payload) else None, result=result if _is_model(result) else None)


def _resolve(function: Any, annotation: Any) -> Any:
    """Return an annotation as an object; None for one that exists for type checkers only."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    found = function if hasattr(function, "__globals__") else type(function).__call__
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, globalns=getattr(found, "__globals__", {}))["it"]
    except Exception:  # noqa: BLE001 - a text that is an annotation may be any expression
        return None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, sys.modules["pydantic"].BaseModel)


def _contains_model(annotation: Any) -> bool:
    return _is_model(annotation) or any(map(_contains_model, get_args(annotation)))


@functools.lru_cache(maxsize=512)  # bounded: a program may make models for each request
def _schema_text(model: type[BaseModel], mode: Any) -> str:
    from agentpool_core.json_schema import Checker, SchemaError  # 60 ms, for handlers with models only

    try:
        schema = model.model_json_schema(mode=mode)
        Checker(schema)
    except Exception as error:  # one of pydantic, or one of the model's own methods
        problem = str(error) if isinstance(error, SchemaError) else render_error(error)
        raise HandlerError(
            f"the queue cannot check {model.__name__}: {one_line(problem)}",
            remedy="describe the field by pydantic.WithJsonSchema, or take the annotation away",
        ) from error
    return json.dumps(schema, separators=(",", ":"), sort_keys=True)


def routes_of(kinds: tuple[str, ...], schemas: tuple[JobSchema, ...]) -> list[dict[str, Any]]:
    """Return `spec.routes` of an AgentPool for these kinds: the default route, with the schemas of each kind."""
    described = [
        {"kind": kind}
        | {end: json.loads(text) for end, text in (("input", schema.input), ("output", schema.output)) if text}
        for schema in schemas
        for kind in schema.kinds
    ]
    return [{"name": DEFAULT_ROUTE, "kinds": list(kinds)} | ({"kindSchemas": described} if described else {})]
