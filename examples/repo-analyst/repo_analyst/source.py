"""Measure a source file in any language.

Python goes through its syntax tree (`python_source`); every other language is read line by line with patterns of its
comments and function headers. The result is plain JSON, suitable as a job's result.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from repo_analyst.python_source import MARKER, measure_python

COMPLEX_FROM = 10  # independent paths: the usual bound above which a function is hard to test
LONG_FROM = 50  # lines of a function
LISTED = 5  # functions or markers named in a finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """Reading rules for a language without a parser."""

    name: str  # usual name
    comment: tuple[str, ...]  # prefixes of comment lines
    function: re.Pattern[str] | None  # pattern of a line that opens a function; None: the language has none


_BRACES = re.compile(r"^\s*[\w\s*&<>:,\[\]]+\([^;]*\)\s*(?:const\s*)?\{\s*$")
_SCRIPT = re.compile(r"\bfunction\b|=>\s*\{|^\s*(?:async\s+)?\w+\([^)]*\)\s*\{")
_SHELL = re.compile(r"^\s*(?:function\s+)?[\w-]+\s*\(\)\s*\{?")

LANGUAGES = {
    ".py": Language(name="Python", comment=("#",), function=re.compile(r"^\s*(?:async\s+)?def\s")),
    ".lua": Language(name="Lua", comment=("--",), function=re.compile(r"\bfunction\b")),
    ".sh": Language(name="Shell", comment=("#",), function=_SHELL),
    ".js": Language(name="JavaScript", comment=("//", "/*", "*"), function=_SCRIPT),
    ".ts": Language(name="TypeScript", comment=("//", "/*", "*"), function=_SCRIPT),
    ".go": Language(name="Go", comment=("//",), function=re.compile(r"^\s*func\s")),
    ".rs": Language(name="Rust", comment=("//",), function=re.compile(r"\bfn\s+\w+")),
    ".c": Language(name="C", comment=("//", "/*", "*"), function=_BRACES),
    ".h": Language(name="C", comment=("//", "/*", "*"), function=_BRACES),
    ".cc": Language(name="C++", comment=("//", "/*", "*"), function=_BRACES),
    ".cpp": Language(name="C++", comment=("//", "/*", "*"), function=_BRACES),
    ".java": Language(name="Java", comment=("//", "/*", "*"), function=_BRACES),
    ".rb": Language(name="Ruby", comment=("#",), function=re.compile(r"^\s*def\s")),
    ".sql": Language(
        name="SQL", comment=("--",), function=re.compile(r"create\s+(?:or\s+replace\s+)?function", re.IGNORECASE)
    ),
    ".css": Language(name="CSS", comment=("/*", "*"), function=None),
    ".html": Language(name="HTML", comment=("<!--",), function=None),
}
PLAIN = Language(name="text", comment=("#",), function=None)


def measure(path: str, text: str) -> dict[str, Any]:
    """Measure a file's text.

    The path's suffix names the language. Always returns, also for text that does not parse.
    """
    language = LANGUAGES.get(PurePosixPath(path).suffix.lower(), PLAIN)
    findings = {"language": language.name, **_lines(text, language)}
    if language.name == "Python":
        try:
            return findings | _python(text)
        except (SyntaxError, ValueError) as error:
            findings["unparsed"] = f"line {getattr(error, 'lineno', None) or 1}: {error.args[0]}"
    return findings | _lexical(text, language)


def _lines(text: str, language: Language) -> dict[str, int]:
    lines = [line.strip() for line in text.splitlines()]
    blank = sum(not line for line in lines)
    comments = sum(line.startswith(language.comment) for line in lines if line)
    return {"lines": len(lines), "blank": blank, "comments": comments, "code": len(lines) - blank - comments}


def _python(text: str) -> dict[str, Any]:
    found = measure_python(text)
    functions = found.functions
    return {
        "functions": len(functions),
        "classes": found.classes,
        "branches": sum(function.complexity - 1 for function in functions),
        "documented": found.documented,
        "longest": _named(max(functions, key=lambda function: function.lines, default=None)),
        "most_complex": _named(max(functions, key=lambda function: function.complexity, default=None)),
        "too_long": [asdict(each) for each in functions if each.lines >= LONG_FROM][:LISTED],
        "too_complex": [asdict(each) for each in functions if each.complexity > COMPLEX_FROM][:LISTED],
        "imports": list(found.imports),
        "markers": [asdict(marker) for marker in found.markers][:LISTED],
    }


def _named(function: Any) -> dict[str, Any] | None:
    return None if function is None else asdict(function)


def _lexical(text: str, language: Language) -> dict[str, Any]:
    lines = text.splitlines()
    opens = language.function
    markers = [(number, found.group(0)) for number, line in enumerate(lines, 1) if (found := MARKER.search(line))]
    depths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    return {
        "functions": sum(bool(opens.search(line)) for line in lines) if opens else 0,
        "longest_line": max(map(len, lines), default=0),
        "deepest_indent": max(depths, default=0),
        "markers": [{"line": number, "text": text.strip()} for number, text in markers][:LISTED],
    }
