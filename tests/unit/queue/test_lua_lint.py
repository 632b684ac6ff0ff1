"""The linter of the Lua scripts finds what it is for."""

from __future__ import annotations

import shutil

import pytest

from agentpool_core.queue import scripts
from tools import lint_lua

pytestmark = pytest.mark.skipif(shutil.which("luacheck") is None, reason="luacheck is not on PATH (lua-check)")

PART = "local function used() return 1 end\nlocal function idle() return 2 end\n"


def script(name: str, text: str) -> scripts.Script:
    """A script of that text, which no server runs."""
    return scripts.Script(name=name, source=text, sha="")


def test_an_undefined_name_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A script that calls a function which no part defines is reported by its name and line."""
    monkeypatch.setattr(scripts, "ALL", (script("claim", "return missing()\n"),))
    (found,) = lint_lua.relevant(lint_lua.warnings_of(tmp_path))
    assert found.startswith("claim.lua:1:")
    assert "missing" in found


def test_a_definition_that_one_script_uses_is_fine_and_one_that_none_uses_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    """Two scripts share a part; only the function that neither calls is reported."""
    monkeypatch.setattr(scripts, "ALL", (script("a", PART + "return used()\n"), script("b", PART + "return 3\n")))
    found = lint_lua.relevant(lint_lua.warnings_of(tmp_path))
    assert found
    assert all("'idle'" in line for line in found)
