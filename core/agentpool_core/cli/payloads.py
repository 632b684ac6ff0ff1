"""Input of submits on the command line: a JSON argument, standard input, a file, or a file of many lines.

Every error names the argument or the line, its value, and the remedy; all are usage errors (exit code 2), because the
queue has not been asked yet. `agentpool_core.documents` reads the fields of a line, `agentpool_core.commands.submit`
sends the requests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from agentpool_core.documents import request_from
from agentpool_core.errors import InvalidJobError, SettingError
from agentpool_core.jobs import JobRequest, Json
from agentpool_core.queue.codec.json_text import parse
from agentpool_core.queue.webhook_submits import Submission
from agentpool_core.webhook_documents import take_webhook


def payload_of(text: str | None) -> Json:
    """Return the payload of an argument: JSON, `-` (standard input) or `@FILE`; None: no payload."""
    if text is None:
        return None
    if text == "-":
        try:
            return _parse("standard input", sys.stdin.read())
        except UnicodeDecodeError as error:
            raise _unreadable_file("standard input", error) from error
    if text.startswith("@"):
        return _parse(text[1:], _read(Path(text[1:])))
    return _parse("PAYLOAD", _argument(text))


def _argument(text: str) -> str:
    """Return an argument as UTF-8 text in any locale. Python leaves half characters for bytes that the locale lacks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(text).decode("utf-8")
        except UnicodeError as error:
            raise SettingError(
                field="PAYLOAD",
                value=text,
                problem="not UTF-8",
                remedy="send UTF-8, or escape it as JSON does (\\u00e9)",
            ) from error
    return text


def submissions_of(path: str, template: JobRequest | None) -> Iterator[tuple[str, Submission]]:
    """Yield the jobs of an NDJSON file (`-`: standard input), each with its place, without blank lines.

    Without a template each line is a job in the form of the HTTP API; with a template each line is a payload for it.
    Raises SettingError naming the line and the field.
    """
    try:
        if path == "-":
            yield from _lines("standard input", sys.stdin, template)
            return
        with Path(path).open(encoding="utf-8") as file:
            yield from _lines(path, file, template)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_file("standard input" if path == "-" else path, error) from error


def count_of(path: str) -> int | None:
    """Return the number of requests in the file; None for standard input or a pipe."""
    if not Path(path).is_file():
        return None
    try:
        with Path(path).open("rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise _unreadable_file(path, error) from error


def _lines(name: str, file: TextIO, template: JobRequest | None) -> Iterator[tuple[str, Submission]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        document = _parse(place, line, envelope=template is None)
        if template is not None:
            yield place, Submission(replace(template, payload=document))
            continue
        try:
            rest, webhook = take_webhook(document)
            yield place, Submission(request_from(rest), webhook)
        except InvalidJobError as error:
            raise SettingError(
                field=f"{place}: {error.field}", value=error.value, problem=error.problem, remedy=error.remedy
            ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_file(str(path), error) from error


def _unreadable_file(path: str, error: Exception) -> SettingError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SettingError(field="file", value=path, problem=f"cannot be read: {reason}", remedy="name a readable file")


def _parse(name: str, text: str, *, envelope: bool = False) -> Json:
    try:
        return parse(name, text, envelope=envelope)
    except ValueError as error:
        raise SettingError(
            field=name,
            value=text.strip(),
            problem=f"not JSON ({error})",
            remedy='quote it for the shell, as in \'{"path": "README.md"}\'',
        ) from error
