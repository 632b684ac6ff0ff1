"""Lint the Lua scripts with luacheck: `python tools/lint_lua.py`.

A script is its file plus the included parts, so luacheck reads the assembled source that Redis runs. A definition of a
part may be unused in some scripts; it is reported only if no script uses it. Every other warning is reported as is.
luacheck knows no fields of tables: a function of a part that is called but not defined, or defined but never called, is
reported here, as are scripts with almost too many local variables for Lua.
Exit code 1: there are warnings; 2: luacheck is not installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from agentpool_core.queue import scripts

MOST_LOCALS = 190  # of 200; a loop at the top level takes three more
_GLOBALS = ("redis", "cjson", "KEYS", "ARGV")  # provided by the server
_UNUSED = re.compile(r"\(W211\) unused (?:variable|function) '(?P<name>\w+)'")
_DECLARED = re.compile(r"^local (\w+) = setmetatable", re.MULTILINE)  # a part: see scripts.load
_DEFINED = re.compile(r"^definitions\[(\w+)\] = function\(\)\n(.*?)^end -- \1$", re.MULTILINE | re.DOTALL)
_TEXTS = re.compile(r"--[^\n]*|'(?:\\.|[^'\\\n])*'")  # comments and strings
_MISSING = "luacheck is missing: apt-get install lua-check, or luarocks install luacheck"


def warnings_of(folder: Path) -> list[str]:
    """Return luacheck's warnings about all scripts, each with the script's file name in front."""
    for script in scripts.ALL:
        (folder / f"{script.name}.lua").write_text(script.source)
    command = ["luacheck", "--std", "lua51", "--read-globals", *_GLOBALS, "--no-max-line-length", "--codes",
               "--formatter", "plain", "--", "."]  # fmt: skip
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if line.strip()]


def relevant(warnings: list[str]) -> list[str]:
    """Drop warnings about definitions that at least one script with the same definition uses."""
    unused = Counter(match["name"] for line in warnings if (match := _UNUSED.search(line)))
    defined = {name: sum(_defines(script.source, name) for script in scripts.ALL) for name in unused}
    return [
        line
        for line in warnings
        if not (match := _UNUSED.search(line)) or unused[match["name"]] >= defined[match["name"]]
    ]


def loose_fields() -> list[str]:
    """Return a line for each field of a part that scripts use without a definition, or define without a use."""
    defined: set[str] = set()
    used: set[str] = set()
    for script in scripts.ALL:
        text = _TEXTS.sub("''", script.source)
        if parts := "|".join(_DECLARED.findall(text)):
            field = rf"(?<![\w.])(?:{parts})\.\w+\b"
            assigned = r"(?=(?:, [\w.]+)* = )"
            defined |= set(re.findall(rf"{field}{assigned}|(?<=function ){field}", text))
            used |= set(re.findall(rf"(?<!function ){field}(?!{assigned})", text))
    return sorted(
        [f"{name}: used, but no part defines it" for name in used - defined]
        + [f"{name}: defined, but no script uses it" for name in defined - used]
    )


def crowded() -> list[str]:
    """Return a line for each script or part with almost as many local variables as Lua compiles in one function.

    Lua 5.1 stops at 200 with "main function has more than 200 local variables".
    """
    texts = {}
    for script in scripts.ALL:
        texts |= {f"lib/{name}.lua": part for name, part in _DEFINED.findall(script.source)}
        texts[f"{script.name}.lua"] = _DEFINED.sub("", script.source)
    counts = {name: sum(map(_names, text.splitlines())) for name, text in texts.items()}
    return [
        f"{name}: {count} local variables at the top level, more than {MOST_LOCALS}: put some into functions"
        for name, count in counts.items()
        if count > MOST_LOCALS
    ]


def _names(line: str) -> int:
    """Count the variables that a line declares at the top level."""
    declared = re.match(r"local (?:function \w+|[\w, ]+)", line)
    return declared[0].count(",") + 1 if declared else 0


def _defines(source: str, name: str) -> bool:
    return re.search(rf"^local (?:function {name}\b|[\w, ]*\b{name}\b[\w, ]*=)", source, re.MULTILINE) is not None


def main() -> int:
    """Print the warnings; return the exit code."""
    if shutil.which("luacheck") is None:
        print(_MISSING, file=sys.stderr)  # noqa: T201
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = [*relevant(warnings_of(Path(folder))), *loose_fields(), *crowded()]
    for line in found:
        print(line)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
