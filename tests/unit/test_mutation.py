"""The changes that `make mutation` tries."""

from __future__ import annotations

import pytest

from tests.mutation.changes import sample
from tests.mutation.explained import EXPLAINED
from tests.mutation.subjects import SUBJECTS, Subject

SOURCE = """
def is_large(size: int | None, *, least: int = 2) -> bool:
    return size is not None and size >= least
"""


@pytest.fixture
def subject(tmp_path):
    """A module with a few places for changes."""
    (tmp_path / "module.py").write_text(SOURCE, encoding="utf-8")
    return Subject(path=str(tmp_path / "module.py"), tests=())


def test_every_change_compiles_to_another_program(subject):
    """Annotations are left alone, because changes there would survive every test."""
    changes = sample((subject,), 100, seed=1)
    assert len(changes) > 10
    assert len({change.text for change in changes}) == len(changes)
    for change in changes:
        compile(change.text, "changed", "exec")
        assert "int | None" in change.becomes or change.line.startswith("return")


def test_a_sample_depends_on_the_seed_and_on_the_changed_lines_alone(subject, tmp_path):
    """A longer sample begins with the shorter one, and new lines elsewhere leave the order of the others."""
    found = [change.becomes for change in sample((subject,), 100, seed=1)]
    assert [change.becomes for change in sample((subject,), 5, seed=1)] == found[:5]
    assert [change.becomes for change in sample((subject,), 100, seed=2)] != found
    more = f'"""A docstring."""\n\nLEAST = 5\n{SOURCE}'
    (tmp_path / "module.py").write_text(more, encoding="utf-8")
    again = [change.becomes for change in sample((subject,), 100, seed=1) if "LEAST" not in change.becomes]
    assert again == found


def test_every_explanation_is_of_a_line_that_is_still_there():
    """An explanation of a line that has changed explains nothing."""
    sources = {subject.name: subject.source() for subject in SUBJECTS}
    assert [key for key in EXPLAINED if key[1] not in sources[key[0]]] == []
