"""Output of commands: `-o table|json|yaml|name`, like kubectl.

A table is for people and `grep`: upper-case headers, columns padded with three spaces, no colour and no rules, so it
needs only the standard library. `json` and `yaml` print the documents of `agentpool_core.documents`; `name` prints an
identifier per line, for `xargs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import click
import yaml
from click.shell_completion import CompletionItem

from agentpool_core.cli.jsonpath import JsonPath
from agentpool_core.documents import Document
from agentpool_core.process.standard_streams import takes_all_text
from agentpool_core.text import first_line_of, one_line, printable

GAP = "   "
EXIT_CODES = """

\b
Exit codes: 0 done, 1 refused or not answered, 2 wrong usage, 130 interrupted."""  # ends an epilog


class Format(StrEnum):
    """Values of `-o`, beside `jsonpath=TEMPLATE`."""

    TABLE = "table"  # columns for people
    WIDE = "wide"  # more columns, where a command has more
    JSON = "json"  # a document, indented
    YAML = "yaml"  # a document
    NAME = "name"  # identifiers only, one per line

    @property
    def shows_documents(self) -> bool:
        """Whether all of a document is printed."""
        return self in {Format.JSON, Format.YAML}

    @property
    def is_table(self) -> bool:
        """Whether columns are printed."""
        return self in {Format.TABLE, Format.WIDE}


Output: TypeAlias = Format | JsonPath


class OutputType(click.ParamType[Output]):
    """The type of `-o`."""

    name = "FORMAT"
    _JSONPATH = "jsonpath="

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        """Return the output that a text names."""
        if isinstance(value, Format | JsonPath):
            return value
        if str(value).startswith(self._JSONPATH):
            return JsonPath.parse(value.removeprefix(self._JSONPATH))
        try:
            return Format(value)
        except ValueError:
            self.fail(f"{value!r} is none of {', '.join(values(Format))}, jsonpath=TEMPLATE", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the forms."""
        del param, ctx
        return f"{'|'.join(values(Format))}|jsonpath=…"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the forms that begin so."""
        del ctx, param
        return [CompletionItem(form) for form in (*values(Format), self._JSONPATH) if form.startswith(incomplete)]


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-o/--output` to a command, as the parameter `output`."""
    return click.option(
        "-o",
        "--output",
        type=OutputType(),
        default=Format.TABLE.value,
        show_default=True,
        help="How to print; jsonpath as kubectl has it.",
    )(function)


def values(choices: type[StrEnum]) -> list[str]:
    """Return the command-line values of an enum."""
    return [choice.value for choice in choices]


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under their headers; None is `-`. The last column is not padded."""
    lines = grid(headers, rows)
    widths = widths_of(lines)
    return "\n".join(padded(line, widths) for line in lines)


def grid(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return the cells of a table, its headers first."""
    return [[header.upper() for header in headers], *([_cell(value) for value in row] for row in rows)]


def widths_of(lines: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def padded(line: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of a table; a cell wider than its column moves the rest."""
    return GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text with escaped control characters: a job's text must not control the terminal. `err`: to stderr."""
    click.echo(printable(text), err=err, nl=nl)


def emit(output: Output, document: Document | list[Document], *, names: Sequence[str], text: str) -> None:
    """Print a document in the requested form; `text` is its table, `names` its identifiers."""
    match output:
        case Format.JSON:
            say(as_json(document))
        case Format.YAML:
            say(_as_yaml(document), nl=False)
        case Format.NAME:
            for name in names:
                say(one_line(name))
        case JsonPath():
            say(output.render(document))
        case Format.TABLE | Format.WIDE:
            say(text)


def as_json(document: object) -> str:
    """Return a document as indented JSON, with terminal control characters escaped in JSON's form."""
    return json.dumps(document, indent=2, ensure_ascii=not takes_all_text())


def _as_yaml(document: object) -> str:
    """Return a document as YAML. Text that needs an escape is quoted: a plain scalar has no escapes."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=takes_all_text())
    return text if printable(text) == text else yaml.safe_dump(document, sort_keys=False, allow_unicode=False)


def first_line(error: str | None) -> str | None:
    """Return the first line of an error, for single-line output; `agentpool get JOB -o json` has the traceback."""
    return one_line(first_line_of(error.strip()) or "") if error else None


def _cell(value: object) -> str:
    """Return a cell on a single line."""
    return "-" if value is None or value == "" else one_line(" ".join(str(value).split()))
