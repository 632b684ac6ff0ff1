"""Measuring source files."""

import ast
import textwrap

import pytest
from hypothesis import given, strategies
from repo_analyst.python_source import complexity, measure_python
from repo_analyst.source import measure


def function(source):
    node = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("def f(): pass", 1),
        ("def f(a):\n if a: return 1\n return 2", 2),
        ("def f(a):\n if a and b or c: return 1", 4),
        ("def f(a):\n for x in a:\n  while x: x -= 1", 3),
        ("def f(a):\n try: a()\n except ValueError: pass\n except TypeError: pass", 3),
        ("def f(a): return [x for x in a if x if x > 1]", 4),
        ("def f(a):\n match a:\n  case 1: pass\n  case _: pass", 3),
        ("async def f(a):\n async for x in a: yield x if x else None", 3),
        ("def f(a):\n def g(b):\n  if b: return 1\n return g", 1),
    ],
)
def test_complexity_counts_independent_paths(source, paths):
    """Each condition, loop, handler, arm and filter adds a path; functions inside count for themselves."""
    assert complexity(function(source)) == paths


def test_functions_have_qualified_names():
    """Methods carry their class, inner functions the enclosing function."""
    found = measure_python("class A:\n def m(self):\n  def inner(): pass\n  return inner\n")
    assert [(each.name, each.line, each.lines) for each in found.functions] == [
        ("A.m", 2, 3),
        ("A.m.inner", 3, 1),
    ]


def test_markers_are_found_in_comments_only():
    """A TODO in a string is no marker."""
    found = measure_python('x = "TODO: not this"\n# TODO: this one\n')
    assert [(marker.line, marker.text) for marker in found.markers] == [(2, "TODO: this one")]


def test_imports_are_absolute_top_level_names():
    """Relative imports are the package's own and are left out."""
    assert measure_python("import os.path, json\nfrom a.b import c\nfrom . import d").imports == (
        "a",
        "json",
        "os",
    )


def test_python_that_does_not_parse_is_still_counted():
    """The line of a syntax error is named, and the file is measured line by line."""
    found = measure("broken.py", "def f(:\n    pass\n")
    assert found["unparsed"].startswith("line 1:")
    assert found["functions"] == 1


def test_other_languages_are_read_by_their_comments_and_headers():
    """The measures of a Lua file include functions, comments and markers."""
    found = measure("claim.lua", "-- purpose\nlocal function pick()\n  return 1 -- FIXME: later\nend\n\n")
    assert (found["language"], found["functions"], found["comments"], found["blank"]) == ("Lua", 1, 1, 1)
    assert found["markers"] == [{"line": 3, "text": "FIXME: later"}]


@given(strategies.text(), strategies.sampled_from(["a.py", "a.go", "a.unknown", "a"]))
def test_any_text_is_measured(text, path):
    """Every text has measures, and the counted lines add up."""
    found = measure(path, text)
    assert found["blank"] + found["comments"] + found["code"] == found["lines"]
