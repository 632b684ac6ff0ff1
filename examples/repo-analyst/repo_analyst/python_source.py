"""Measure Python source from its syntax tree.

Parses the text once with `ast`, walks every function for its length and its cyclomatic complexity, and reads the
comments with `tokenize`. Text that does not parse is reported as such, never guessed at; `source` then falls back to
line counts.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b[:\s]*(.*)")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

# Nodes that add an independent path, after McCabe (1976): a condition, a loop, a handler, a match arm, a conditional
# expression.
BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.match_case,
    ast.Assert,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function or method in its file."""

    name: str  # dotted: class and enclosing functions first
    line: int  # line of its `def`, counted from 1
    lines: int  # from its `def` to its last statement
    complexity: int  # independent paths, at least 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A reminder in a comment."""

    line: int  # counted from 1
    text: str  # the word and the text after it


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonMeasures:
    """Measures of a module from its syntax tree."""

    functions: tuple[Function, ...]  # in the order of the file
    classes: int  # class definitions, including nested classes
    imports: tuple[str, ...]  # top-level module names, sorted, each once
    markers: tuple[Marker, ...]  # in the order of the file
    documented: int  # functions and classes that have a docstring


def measure_python(text: str) -> PythonMeasures:
    """Measure a module's source. Raises SyntaxError if the source does not parse."""
    tree = ast.parse(text)
    definitions = [node for node in ast.walk(tree) if isinstance(node, FunctionNode | ast.ClassDef)]
    return PythonMeasures(
        functions=tuple(_functions(tree, prefix="")),
        classes=sum(isinstance(node, ast.ClassDef) for node in definitions),
        imports=tuple(sorted(set(_imports(tree)))),
        markers=tuple(_markers(text)),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in definitions),
    )


def _functions(node: ast.AST, *, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, FunctionNode | ast.ClassDef):
            name = f"{prefix}{child.name}."
        if isinstance(child, FunctionNode):
            yield Function(
                name=name.removesuffix("."),
                line=child.lineno,
                lines=(child.end_lineno or child.lineno) - child.lineno + 1,
                complexity=complexity(child),
            )
        yield from _functions(child, prefix=name)


def complexity(function: FunctionNode) -> int:
    """Count the independent paths through a function, without nested functions."""
    paths, pending = 1, list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, FunctionNode | ast.ClassDef):
            continue
        if isinstance(node, BRANCHES):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            paths += 1 + len(node.ifs)
        pending.extend(ast.iter_child_nodes(node))
    return paths


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _markers(text: str) -> Iterator[Marker]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        found = MARKER.search(token.string) if token.type == tokenize.COMMENT else None
        if found:
            yield Marker(line=token.start[0], text=found.group(0).strip())
