"""JSON Schemas of payloads and results: which schemas are accepted, and the check of a value.

`rules` bounds the work that a schema can cause, `checker` compares values with accepted schemas. The AgentPool's spec
and the queue's settings name the schemas; producers and workers check.
"""

from agentpool_core.json_schema.checker import Checker, checker_of
from agentpool_core.json_schema.rules import Schema, SchemaError

__all__ = ("Checker", "Schema", "SchemaError", "checker_of")
