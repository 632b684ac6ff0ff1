"""The linter of the Lua scripts finds planted mistakes."""

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
    """A script that calls an undefined function is reported with line and name."""
    monkeypatch.setattr(scripts, "ALL", (script("claim", "return missing()\n"),))
    (found,) = lint_lua.relevant(lint_lua.warnings_of(tmp_path))
    assert found.startswith("claim.lua:1:")
    assert "missing" in found


def test_a_definition_without_a_use_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Two scripts share a part; only the function that neither script calls is reported."""
    monkeypatch.setattr(scripts, "ALL", (script("a", PART + "return used()\n"), script("b", PART + "return 3\n")))
    found = lint_lua.relevant(lint_lua.warnings_of(tmp_path))
    assert found
    assert all("'idle'" in line for line in found)


def test_a_script_with_almost_too_many_local_variables_is_reported(monkeypatch: pytest.MonkeyPatch):
    """Lua refuses the 201st local variable of a script with its parts, at the first call on a server."""
    many = "".join(f"local a{n}, b{n} = 1, 2\n" for n in range(90)) + "local function used() return 1 end\n" * 16
    monkeypatch.setattr(scripts, "ALL", (script("few", "local a = 1\n  local b = 2\n"), script("many", many)))
    (found,) = lint_lua.crowded()
    assert found == "many.lua: 196 local variables at the top level, more than 190: put some into functions"


def test_a_field_of_a_part_without_definition_or_use_is_reported(monkeypatch: pytest.MonkeyPatch):
    """A function of a part exists, and some script calls it; names in comments and strings do not count."""
    part = (
        "local jobs = setmetatable({}, on_demand)\n"
        "function jobs.load() return jobs.STATES end\nfunction jobs.drop() end\n"
        "jobs.STATES, jobs.ENDS = {}, {} -- jobs.comment\n"
    )
    one = script("one", part + "return jobs.load() or jobs.laod() or 'jobs.string'\n")
    monkeypatch.setattr(scripts, "ALL", (one, script("two", part + "return jobs.ENDS\n")))
    assert lint_lua.loose_fields() == [
        "jobs.drop: defined, but no script uses it",
        "jobs.laod: used, but no part defines it",
    ]
