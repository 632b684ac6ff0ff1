"""The licence check: each licence of an installed package is on the list, or the package is named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def loaded() -> ModuleType:
    """The tool as a module; tools are programs, not packages."""
    spec = importlib.util.spec_from_file_location("licences", Path(__file__).resolve().parents[2] / "tools/licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = loaded()


def bill(*licences: dict[str, Any]) -> dict[str, Any]:
    """A bill of a component with these licences."""
    return {"components": [{"name": "some", "version": "1.0", "licenses": list(licences)}]}


@pytest.mark.parametrize(
    "licences",
    [
        [{"license": {"id": "MIT"}}],
        [{"expression": "Apache-2.0 AND (MIT OR BSD-3-Clause)"}],
        [{"license": {"id": "ISC"}}, {"license": {"name": "License :: OSI Approved :: BSD License"}}],
    ],
)
def test_an_allowed_licence_passes(licences: list[dict[str, Any]]):
    """The licence may be an identifier, an expression, or a classifier."""
    assert tool.complaints(bill(*licences)) == []


@pytest.mark.parametrize(
    ("licences", "named"),
    [
        ([], "no licence"),
        ([{"license": {"id": "GPL-3.0-only"}}], "GPL-3.0-only"),
        ([{"expression": "MIT AND LGPL-2.1-or-later"}], "LGPL-2.1-or-later"),
        ([{"license": {"id": "MIT"}}, {"license": {"name": "Proprietary"}}], "Proprietary"),
    ],
)
def test_a_forbidden_licence_is_named_with_its_package(licences: list[dict[str, Any]], named: str):
    """An allowed licence beside a forbidden licence does not help, and a missing licence is forbidden."""
    assert tool.complaints(bill(*licences)) == [f"some 1.0: {named}"]


def test_a_licence_from_the_files_counts_only_without_a_declared_licence():
    """A later version that declares a different licence is named."""
    component = {"name": "protobuf", "version": "9.0"}
    assert tool.complaints({"components": [component]}) == []
    declared = component | {"licenses": [{"license": {"id": "GPL-3.0-only"}}]}
    assert tool.complaints({"components": [declared]}) == ["protobuf 9.0: GPL-3.0-only"]
