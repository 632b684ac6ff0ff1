"""Base of every part of the AgentPool resource: camelCase names, no unknown fields, CEL rules.

Each part of the spec is a `SpecModel`; its `Rule`s become `x-kubernetes-validations` in the CRD, so that the API server
refuses invalid resources. `crd.py` turns the parts into the CustomResourceDefinition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints
from pydantic.alias_generators import to_camel

from agentpool_core.jobs import KIND_PATTERN, LONGEST_KIND

MAX_INT32 = 2_147_483_647
MAX_CONCURRENCY = 10_000  # slots of a worker
DAY_SECONDS = 86_400
SUBDOMAIN_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"  # names of most objects


Kind = Annotated[str, StringConstraints(pattern=f"^{KIND_PATTERN}$", max_length=LONGEST_KIND)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A CEL rule: condition, message for the user, and the field.

    `explain` is a CEL expression that puts the actual values into the message; `message` is used if the server cannot
    evaluate it.
    """

    holds: str  # CEL over `self`, the object the rule sits on
    message: str  # names the field and the remedy
    explain: str | None = None  # CEL giving a string, with the values found
    field: str | None = None  # JSON path below the object, such as `.minReplicas`

    def to_schema(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        schema = {"rule": self.holds, "message": self.message}
        if self.explain:
            schema["messageExpression"] = self.explain
        if self.field:
            schema["fieldPath"] = self.field
        return schema


class SpecModel(BaseModel):
    """A part of the resource, written in camelCase and strict about its fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_enum_values=False,
        serialize_by_alias=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Add the part's rules to its JSON schema."""
        super().__pydantic_init_subclass__(**kwargs)
        if cls.rules:
            validations: list[JsonValue] = [dict(rule.to_schema()) for rule in cls.rules]
            cls.model_config["json_schema_extra"] = {"x-kubernetes-validations": validations}
            cls.model_rebuild(force=True)
