"""Log lines, for machines and for people."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from agentpool import logs


def record(**extra: object) -> logging.LogRecord:
    """A warning with these extra fields."""
    made = logging.makeLogRecord({"name": "agentpool.x", "levelno": logging.WARNING, "levelname": "WARNING"})
    made.msg, made.args, made.created = "pool %s", ("research/é",), 1.5
    vars(made).update(extra)
    return made


def test_a_json_line_has_the_extra_fields():
    """What the call brings beside its message stands beside it, for whoever filters by it."""
    assert json.loads(logs.JsonFormatter().format(record(job_id="j", attempt=2))) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "warning",
        "logger": "agentpool.x",
        "message": "pool research/é",
        "job_id": "j",
        "attempt": 2,
    }


def test_a_traceback_stays_within_its_line():
    """One record is one line, however long its traceback."""
    try:
        int("lost")
    except ValueError:
        line = logs.JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["traceback"]


@pytest.mark.parametrize(("form", "begins"), [("json", '{"time"'), ("text", "20")])
def test_lines_go_to_standard_error_from_the_level_up(form: str, begins: str, capsys, monkeypatch):
    """Standard output stays free for what a command prints."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure(form=form, level="warning")
    logging.getLogger("agentpool.x").info("not told")
    logging.getLogger("agentpool.x").warning("told")
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith(begins)
