"""Small changes of a module: another operator, constant or condition, by the rules of cosmic-ray.

Changes of annotations are left out, because no annotation of these modules runs, and so are changes that do not
compile. The order is random and depends on the seed and on the changed line alone: an edit elsewhere in the module
leaves the sample of a seed as it is. `judge` takes over next.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tests.mutation.subjects import Subject

Place = tuple[int, int]  # line from 1, column from 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A changed module."""

    subject: Subject
    line: str  # as it was, without indentation
    becomes: str
    text: str  # of the whole changed module


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spot:
    """A place for a change."""

    operator: str
    occurrence: int  # of the operator in the module
    line: str
    column: int  # in the line, without indentation

    def order(self, seed: int) -> bytes:
        """Return the rank in the sample of a seed."""
        return hashlib.sha256(f"{seed} {self.operator} {self.column} {self.line}".encode()).digest()


def count_places(subject: Subject) -> int:
    """Return the number of possible changes, with those that do not compile."""
    return len(list(_spots(subject.source())))


def sample(subjects: tuple[Subject, ...], size: int, seed: int) -> list[Change]:
    """Return a sample: modules take turns, so that small modules are covered first."""
    turns = itertools.zip_longest(*(_changes(subject, seed) for subject in subjects))
    return list(itertools.islice((change for turn in turns for change in turn if change), size))


def _changes(subject: Subject, seed: int) -> Iterator[Change]:
    """Yield all changes of a module in the order of the seed."""
    source = subject.source()
    for spot in sorted(_spots(source), key=lambda spot: spot.order(seed)):
        text = mutate_code(source, get_operator(spot.operator)(), spot.occurrence)
        if text is not None and _runs_differently(source, text):
            line, becomes = _difference(source, text)
            yield Change(subject=subject, line=line, becomes=becomes, text=text)


def _spots(source: str) -> Iterator[_Spot]:
    """Yield the places of all operators outside annotations."""
    nodes, lines, annotations = list(ast_nodes(get_ast(source))), source.splitlines(), list(_annotations(source))
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments():
            continue  # for patterns of names, which a project configures
        places = (start for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, (row, column) in enumerate(places):
            if not any(begin <= (row, column) < end for begin, end in annotations):
                line = lines[row - 1]
                indentation = len(line) - len(line.lstrip())
                yield _Spot(operator=name, occurrence=occurrence, line=line.strip(), column=column - indentation)


def _annotations(source: str) -> Iterator[tuple[Place, Place]]:
    """Yield begin and end of each annotation."""
    for node in ast.walk(ast.parse(source)):
        for found in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(found, ast.expr):
                yield (found.lineno, found.col_offset), (found.end_lineno or 0, found.end_col_offset or 0)


def _runs_differently(source: str, text: str) -> bool:
    """Return whether a changed text compiles to a different program."""
    try:
        return ast.dump(ast.parse(text)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _difference(source: str, text: str) -> tuple[str, str]:
    """Return the changed lines of both texts, each as a single line without indentation."""
    old, new = source.splitlines(), text.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " ".join(map(str.strip, old)), " ".join(map(str.strip, new))
