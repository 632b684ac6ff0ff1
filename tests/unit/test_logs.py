"""Log lines, for machines and for people."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from agentpool_core.process import logs


def record(**extra: object) -> logging.LogRecord:
    """A warning with these extra fields."""
    made = logging.makeLogRecord({"name": "agentpool.x", "levelno": logging.WARNING, "levelname": "WARNING"})
    made.msg, made.args, made.created = "pool %s", ("research/é",), 1.5
    vars(made).update(extra)
    return made


def test_a_json_line_has_the_extra_fields():
    """Fields of the call are fields of the line, so a reader can filter by field."""
    assert json.loads(logs.JsonFormatter().format(record(job_id="j", attempt=2))) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "warning",
        "logger": "agentpool.x",
        "message": "pool research/é",
        "job_id": "j",
        "attempt": 2,
    }


def test_a_traceback_stays_within_its_line():
    """A record is a single line, whatever the length of the traceback."""
    try:
        int("lost")
    except ValueError:
        line = logs.JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: invalid literal" in json.loads(line)["traceback"]


@pytest.mark.parametrize(("form", "begins"), [("json", '{"time"'), ("text", "20")])
def test_lines_go_to_standard_error_from_the_level_up(form: str, begins: str, capsys, monkeypatch):
    """Standard output stays free for the output of commands."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    logs.configure(form=form, level="warning")
    logging.getLogger("agentpool.x").info("not told")
    logging.getLogger("agentpool.x").warning("told")
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith(begins)


class Unprintable:
    """An argument that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("form", [logs.JsonFormatter(), logs.TextFormatter("%(message)s")])
def test_a_line_is_written_for_any_arguments(form: logging.Formatter):
    """Objects without text, lone surrogates and values without a JSON form lose no line and raise no error."""
    deep: object = 0
    for _ in range(5_000):
        deep = [deep]
    odd = record(row=Unprintable(), deep=deep)
    odd.msg, odd.args = "job %s: %s", ("caf\udce9", Unprintable())
    line = form.format(odd)
    line.encode()
    assert "caf" in line


def test_a_text_line_moves_no_cursor():
    """Escape sequences in a job's message are shown, not executed."""
    odd = record()
    odd.msg, odd.args = "error: %s", ("\x1b[2J\x9b1m\u202egnp.exe",)
    assert logs.TextFormatter("%(message)s").format(odd) == "error: \\u001b[2J\\u009b1m\\u202egnp.exe"
