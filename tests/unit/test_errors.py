"""Detail and remedy of an error are attributes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentpool_core import errors
from agentpool_core.errors import AgentPoolError, InvalidJobError, QueueError, SubmitUnknownError

ROOT = Path(__file__).parents[2]
PRODUCT = ("core", "operator", "worker", "gateway", "local")
NAME = re.compile(r"[A-Z]\w*Error")


def test_the_text_of_an_error_joins_detail_and_remedy():
    """The text of an error without a remedy is its detail."""
    error = QueueError("the queue is full", remedy="try later")
    assert (error.detail, error.remedy, str(error)) == (
        "the queue is full",
        "try later",
        "the queue is full; try later",
    )
    assert (str(QueueError("full")), QueueError("full").remedy) == ("full", "")


def test_the_error_of_a_field_has_both_too():
    """The detail names field and value."""
    error = InvalidJobError(field="kind", value="a b", problem="not a name; too long", remedy="shorten it")
    assert error.detail == "kind: 'a b': not a name; too long"
    assert error.remedy == "shorten it"
    assert str(error) == f"{error.detail}; {error.remedy}"


def test_neither_detail_nor_remedy_holds_a_lone_surrogate():
    """Each is sent as UTF-8: to a terminal, a log and an HTTP client."""
    error = AgentPoolError("\ud800", remedy="\udfff")
    for text in (error.detail, error.remedy, str(error)):
        text.encode()


def test_the_docstring_of_the_module_names_every_error():
    """The tree in the docstring has each class."""
    drawn = set(NAME.findall(errors.__doc__ or ""))
    assert drawn == {name for name in vars(errors) if NAME.fullmatch(name)} - {"FieldError"}


def test_a_submit_of_unknown_outcome_avoids_the_second_job():
    """The remedy is the same key, for any answer of Redis."""
    assert "same idempotency key" in SubmitUnknownError("no answer").remedy


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The product's modules, by path."""
    files = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def _calls(trees: dict[str, ast.Module]) -> Iterator[tuple[str, ast.Call]]:
    """Every call in the product's code, with file and line."""
    for path, tree in trees.items():
        yield from ((f"{path}:{node.lineno}", node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _error_classes(trees: dict[str, ast.Module]) -> set[str]:
    """The names of AgentPoolError and the subclasses, in any package."""
    found = {"AgentPoolError"}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while more := {c.name for c in classes if {ast.unparse(base) for base in c.bases} & found} - found:
        found |= more
    return found


def test_no_message_of_an_error_holds_its_remedy(trees: dict[str, ast.Module]):
    """`QueueError("full; try later")` would hide the remedy in the text."""
    ours = _error_classes(trees)
    joined = [
        place
        for place, call in _calls(trees)
        if isinstance(call.func, ast.Name) and call.func.id in ours and call.args and _holds_a_separator(call.args[0])
    ]
    assert "QueueUnreachableError" in ours
    assert joined == []


def test_no_text_is_split_at_a_remedy(trees: dict[str, ast.Module]):
    """`str(error).partition("; ")` breaks as soon as a sentence changes."""
    split = [
        place
        for place, call in _calls(trees)
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"split", "rsplit", "partition", "rpartition"}
        if any(isinstance(arg, ast.Constant) and arg.value in {"; ", ";"} for arg in call.args)
        if "content-type" not in ast.unparse(call)
    ]
    assert split == []


def _holds_a_separator(node: ast.expr) -> bool:
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any("; " in text for text in texts)
