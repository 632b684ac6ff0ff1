"""The routes of a pool: their kinds, their limits, and the JSON Schemas of their payloads and results.

A schema that `agentpool_core.json_schema` does not accept makes the resource unusable, with a condition that names the
place. `resolve` publishes the schemas with the queue's settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, field_validator, model_validator

from agentpool_core.queue.settings import JobSchema
from agentpool_core.spec.base import MAX_CONCURRENCY, MAX_INT32, Kind, Rule, SpecModel

MAX_ROUTES = 16  # with MAX_KINDS, keeps the CEL rule over all kinds within the API server's cost limit
MAX_KINDS = 32
MAX_SCHEMAS_BYTES = 131_072  # of a route, as JSON: workers and gateways read them with the settings

RouteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]


class SchemaSpec(SpecModel):
    """JSON Schemas (2020-12) of a job: its payload, and its result."""

    input: dict[str, Any] | None = Field(
        default=None,
        description="Schema of payloads; a submit of a different payload is refused with the path. Unset: any payload.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    output: dict[str, Any] | None = Field(
        default=None,
        description="Schema of results; an attempt with a different result fails. Unset: any result.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )

    @field_validator("input", "output")
    @classmethod
    def _check_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            from agentpool_core.json_schema import Checker  # 60 ms, for pools with schemas only

            Checker(schema)
        return schema


class KindSchemaSpec(SchemaSpec):
    """JSON Schemas of the jobs of a kind."""

    kind: Kind = Field(description="The kind, one of the route's.")


class RouteResources(SpecModel):
    """Resources of a worker that a running job takes."""

    slots: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CONCURRENCY,
        description="Slots that a job takes. A worker without running jobs starts a job of any number of slots. "
        "Unset: 1.",
    )
    gpu_memory_mib: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description=(
            "GPU memory that a job takes, in MiB. A worker starts as many jobs as fit into `worker.gpuMemoryMib` "
            "together. Unset: none."
        ),
    )


class RouteSpec(SpecModel):
    """Share of a pool: kinds of jobs, and the number of these jobs that may run at once."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="!has(self.schema) && !has(self.kindSchemas) || has(self.kinds) && size(self.kinds) > 0",
            message="a route with schemas must list the kinds that they describe; add kinds",
            field=".kinds",
        ),
    )

    name: RouteName = Field(description="The route's name; `default` takes the kinds that no route lists.")
    kinds: list[Kind] = Field(
        default_factory=list,
        max_length=MAX_KINDS,
        description="Kinds of job that take this route.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_running: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description="Jobs of this route that run at once, over all workers. Unset: no limit but the slots.",
    )
    resources: RouteResources = Field(
        default_factory=RouteResources, description="Resources of a worker that a job of this route takes."
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description=(
            "Tokens of models that a job of this route is expected to use, unless the job declares them. Rates of "
            "tokens (spec.queue.limits) count them from the start. Unset: none."
        ),
    )
    schema_: SchemaSpec | None = Field(
        default=None,
        alias="schema",
        description="Schemas of the route's jobs, except of the kinds in kindSchemas. Unset: any payload and result.",
    )
    kind_schemas: list[KindSchemaSpec] = Field(
        default_factory=list,
        max_length=MAX_KINDS,
        description="Schemas by kind, for a route with several kinds.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kind"]},
    )

    @model_validator(mode="after")
    def _check_rules(self) -> RouteSpec:
        """Check the rule above again, and the schemas together."""
        if (self.schema_ or self.kind_schemas) and not self.kinds:
            raise ValueError(self.rules[0].message)
        if unlisted := sorted({schema.kind for schema in self.kind_schemas} - {*self.kinds}):
            raise ValueError(f"kindSchemas describes {unlisted[0]!r}, which kinds does not list; add it to kinds")
        size = len(json.dumps([schema.model_dump() for schema in (self.schema_, *self.kind_schemas) if schema]))
        if size > MAX_SCHEMAS_BYTES:
            raise ValueError(f"the schemas have {size} bytes, more than {MAX_SCHEMAS_BYTES}; describe less")
        return self

    def resolve_schemas(self) -> Iterator[JobSchema]:
        """Yield the schemas: those of single kinds, and the route's for its other kinds."""
        own = {schema.kind for schema in self.kind_schemas}
        for schema in self.kind_schemas:
            yield JobSchema(kinds=(schema.kind,), input=_text(schema.input), output=_text(schema.output))
        others = tuple(kind for kind in self.kinds if kind not in own)
        if self.schema_ is not None and others:
            yield JobSchema(kinds=others, input=_text(self.schema_.input), output=_text(self.schema_.output))


def _text(schema: dict[str, Any] | None) -> str | None:
    return None if schema is None else json.dumps(schema, separators=(",", ":"), sort_keys=True)
