"""The page of the Python API: the public names of client and worker, with their docstrings. `generate.py` writes it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import agentpool_core
import agentpool_worker
from agentpool_core import errors

HEAD = """\
# Python API

The public names of client and worker, generated from their docstrings by `make generate`. Other names may change at
any time. `pip install agentpool-core` installs the client, `agentpool-core[worker]` the worker.
"""
MADE_BY_US = {"BlockingContext", "Context", "Receipt", "SyncReceipt"}
FOR_THE_WORKER = {"App.find", "App.start", "App.stop", "Context.blocking"}  # public only within this repository
MODULES = {"Client": agentpool_core, "Worker and handlers": agentpool_worker}


def reference() -> str:
    """Return the whole page."""
    parts = [HEAD.rstrip()]
    for title, module in MODULES.items():
        parts.append(f"## {title}: `{module.__name__}`")
        for name in module.__all__:
            if not _is_error(thing := getattr(module, name)):
                parts += _class(name, thing)
    parts += ["## Errors", inspect.cleandoc(errors.__doc__ or "")]
    for name in _errors(agentpool_core):
        parts += [f"### {name}", inspect.getdoc(getattr(agentpool_core, name)) or ""]
    return "\n\n".join(parts) + "\n"


def _errors(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if _is_error(getattr(module, name))]


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, errors.AgentPoolError)


def _class(name: str, thing: Any) -> Iterator[str]:
    """Yield the parts of a class: how to make it, docstring, fields and properties, methods."""
    yield f"### {name}"
    init = vars(thing).get("__init__")
    if inspect.isfunction(init) and name not in MADE_BY_US:
        yield f"```python\n{name}{_signature(init)}\n```"
    yield inspect.getdoc(thing) or ""
    members = {member: value for member, value in vars(thing).items() if not member.startswith("_")}
    rows = [*_fields(thing), *_properties(members)]
    if rows:
        yield "\n".join(("| name | type or value | meaning |", "|---|---|---|", *rows))
    for member, value in members.items():
        if inspect.isfunction(value) and f"{name}.{member}" not in FOR_THE_WORKER:
            prefix = "async " if inspect.iscoroutinefunction(value) else ""
            yield f"```python\n{prefix}{member}{_signature(value)}\n```"
            yield inspect.getdoc(value) or ""


class _Bare(str):
    """An annotation that prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any) -> str:
    """Return the parameters without `self`, and the type of the result."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_Bare(parameter.annotation))
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    result = _Bare(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=result)).removesuffix(" -> None")


def _properties(members: dict[str, Any]) -> Iterator[str]:
    for name, value in members.items():
        if isinstance(value, property):
            returns = inspect.signature(value.fget).return_annotation  # type: ignore[arg-type]
            text = (inspect.getdoc(value) or "").removeprefix("Return ")
            yield _row(name, returns, text[:1].upper() + text[1:])


def _fields(thing: Any) -> Iterator[str]:
    """Yield a row for each field or member of the class, with the comment behind it."""
    source = textwrap.dedent(inspect.getsource(thing))
    lines = source.splitlines()
    definition = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for node in definition.body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name(name), annotation=kind) | ast.Assign(targets=[ast.Name(name)], value=kind)
            ) if not name.startswith("_"):
                yield _row(name, ast.unparse(kind), lines[(node.end_lineno or 0) - 1].partition("  # ")[2])


def _row(name: str, kind: str, text: str) -> str:
    return f"| `{name}` | `{kind.replace(' | ', ' or ')}` | {' '.join(text.split())} |"
