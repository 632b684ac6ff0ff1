"""Refuse retired words in text that users read: `python tools/lint_words.py`.

The last section of docs/glossary.md lists each retired word with its replacement. The check reads every Markdown page,
the chart and the CRD, the files of the console, and the strings of the Python sources (docstrings, CLI help, errors,
conditions, events, log lines) and of the Lua scripts. Code spans in Markdown and strings without a space are skipped.
Exit code 1: a retired word was found.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs/glossary.md"
_SECTION = "## Retired words"
_SOURCES = ("core/", "operator/", "worker/", "gateway/", "local/", "devcluster/", "tools/", "bench/", "examples/")
_TEXTS = ("charts/", "crds/", "gateway/agentpool_gateway/console/", "core/agentpool_core/queue/scripts/")
_LUA_STRING = re.compile(r"(?<=[(=. {,])'[^'\n]* [^'\n]*'")
_CODE_SPAN = re.compile(r"`[^`\n]*`")


def retired_words(glossary: str) -> dict[str, str]:
    """Return each retired word of the glossary's last section, in lower case, with its replacement."""
    _, _, section = glossary.partition(_SECTION)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {word.strip().lower(): row[1] for row in rows[2:] for word in row[0].split(",")}


def findings(paths: Iterable[Path], retired: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each retired word in the files: place, word, and replacement."""
    words = "|".join(r"\s+".join(re.escape(part) for part in word.split()) for word in retired)
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for path in paths:
        for line, text in passages(path):
            for match in pattern.finditer(text):
                word = " ".join(match[0].lower().split())
                number = line + text.count("\n", 0, match.start())
                yield f"{path}:{number}: '{word}' is retired; write: {retired[word]}"


def passages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the file's texts, each with the number of its first line."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _strings(ast.parse(text))
    elif path.suffix == ".md":
        prose = text.partition(_SECTION)[0] if path.name == GLOSSARY.name else text
        yield 1, _CODE_SPAN.sub(" ", prose)
    elif path.suffix == ".lua":
        yield from ((text.count("\n", 0, match.start()) + 1, match[0]) for match in _LUA_STRING.finditer(text))
    else:
        yield 1, text


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


def user_visible_files() -> list[Path]:
    """Return the tracked files with text that users read."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = [name for name in listed if _is_checked(name) and (ROOT / name).is_file()]
    return [ROOT / name for name in names]


def _is_checked(name: str) -> bool:
    return name.endswith(".md") or name.startswith(_TEXTS) or (name.startswith(_SOURCES) and name.endswith(".py"))


def main() -> int:
    """Print the findings; return the exit code."""
    found = list(findings(user_visible_files(), retired_words(GLOSSARY.read_text())))
    for line in found:
        print(line.removeprefix(f"{ROOT}/"))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
