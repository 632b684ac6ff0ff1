"""Log lines of every process: a JSON object each for machines, or plain text for a terminal.

A job's own lines carry its id, kind and attempt as fields (`ctx.log`). A log collector reads the process's standard
error.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from agentpool_core.text import printable, render_value

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """A line of JSON: time, level, logger, message, extra fields, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without the line end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=render_value)
        except Exception:  # noqa: BLE001  # fields that a job brought, and that JSON cannot express
            return json.dumps(
                {name: value if isinstance(value, str) else render_value(value) for name, value in line.items()}
            )


class TextFormatter(logging.Formatter):
    """A line for people, with escaped control characters: a job's text must not control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line with following lines, such as a traceback, without the line end."""
        if record.args and (message := _message(record)):
            record = logging.makeLogRecord({**vars(record), "msg": message, "args": None})
        return printable(super().format(record))


def _message(record: logging.LogRecord) -> str:
    """Return the message; if an argument cannot be formatted, the message with the arguments shown safely."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # an argument's __str__ may raise anything
        return f"{record.msg} {render_value(record.args)}"


def configure(*, form: str, level: str) -> None:
    """Send all logs to standard error, as `json` or `text`, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
