"""The layout of the queue's hashes is the same in the tables, in Python and in the scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentpool_core.jobs import JobState, Priority
from agentpool_core.queue import keys
from agentpool_core.queue.codec import layout, requests

SCRIPTS = Path(keys.__file__).parent / "scripts"
LUA = {path.stem: path.read_text() for path in SCRIPTS.rglob("*.lua")}
TEXT = "\n".join(LUA.values())
CALL = r"redis\.p?call\('H(?:SET|GET|MGET|DEL|INCRBY|SETNX)', "
ON_BOOKS = re.compile(CALL + r"(?:COUNTERS|counters_key|counters), ([^\n]*(?:\n    +'[^\n]*)*)")
ON_JOB = re.compile(CALL + r"(?:\w+\.key|key|PREFIX \.\. 'job:' \.\. [\w\[\]]+), ([^\n]*)")
QUOTED = re.compile(r"(?<!== )'([a-z_]+:?)'")


def table(title: str) -> dict[str, str]:
    """The fields of a table in the docstring of `keys`, each with a meaning."""
    rows = (keys.__doc__ or "").split(title)[1].split("\n\n")[1].splitlines()[2:]
    fields_and_meanings = [row.strip("| ").split(" | ", 1) for row in rows]
    return dict(fields_and_meanings)


def prefix(field: str) -> str:
    """The fixed part of a field's name: `q:PLACE` is `q:`."""
    return re.sub(r"[A-Z]+$", "", field)


JOB = {prefix(field) for field in table("Fields of `job:ID`.")}
COUNTERS = {prefix(field) for field in table("Fields of `counters`.")}
COUNTED_STATES = {state.value for state in JobState if state.terminal}


def test_every_field_of_a_job_that_scripts_name_is_in_the_table():
    """Fields of HSET, HGET, HMGET, HDEL, and fields that submit collects before the write."""
    values = {"queued", "running", "scheduled", "waiting", "blocked", "1", "poison", "undecodable", "result", "error"}
    values |= {"true", "null", "tree", "cancelled"}
    named = {word for call in ON_JOB.findall(TEXT) for word in QUOTED.findall(call)}
    named |= set(re.findall(r"field\('([a-z_]+)'", LUA["submitting"])) | set(
        re.findall(r"(?:deferrals_of|write_deferrals)\(job, '(\w+)'", TEXT)
    )
    named |= {"result", "error", "reason"} & set(re.findall(r"finish\(\w+, [^,]+, '(\w+)'", TEXT))
    assert len(named) > 20
    assert named - values <= JOB


def test_scripts_use_every_field_of_the_table():
    """An unused field leaves the table."""
    for field in JOB:
        assert f"'{field}'" in TEXT, field
    for field in COUNTERS:
        used = f"'{field}'" in TEXT or f"'{field.rstrip(':')}' .. " in TEXT or f"'{field}' .. " in TEXT
        assert used or field in COUNTED_STATES, field


def test_every_counter_and_cursor_that_scripts_name_is_in_the_table():
    """Fields of the counters, written by a call of their own or by `bump`; a single letter is the prefix of a place."""
    named = {word for call in ON_BOOKS.findall(TEXT) for word in QUOTED.findall(call)}
    named |= set(re.findall(r"bump\('([a-z_]+:?)'", TEXT)) | set(re.findall(r"counters\['([a-z_]+:?)'", TEXT))
    named = {f"{name}:" if len(name) == 1 else name for name in named}
    assert len(named) > 20
    assert named <= COUNTERS
    assert COUNTED_STATES <= COUNTERS  # `finish` counts an end by state


def test_the_patterns_of_the_scripts_take_the_same_texts():
    """Translated to Python, the Lua patterns of spec and lease accept and refuse the same texts as the codec."""
    lua = dict(re.findall(r"^local (SPEC|LEASE) = '([^']+)'", LUA["jobs"], re.MULTILINE))
    python = {name: re.compile(as_python(pattern), re.ASCII | re.DOTALL) for name, pattern in lua.items()}
    assert f"DIGITS_MAX = {layout.DIGITS_MAX}" in LUA["jobs"]
    assert f"LONGEST_WAIT_MS = {requests.LONGEST_WAIT_MS}" in LUA["jobs"]
    assert f"UNREADABLE = '{layout.UNREADABLE_KIND}'" in LUA["jobs"]
    assert f"SUSPECT_LOSSES = {layout.SUSPECT_LOSSES}" in LUA["jobs"]
    for text in (
        "k|r|task|||",
        "k|r|critical|5|1000|puatxkn",
        "k|r|info|5|",
        "|r|task|||",
        "k|r|task|x||",
        "k r task",
        "",
    ):
        assert bool(python["SPEC"].fullmatch(text)) == bool(layout.read_spec(text)), text
    for text in ("1 1 1700000000000 w-1", "0 0 0 ", "1 1 1", "a 1 1 w", "1 1 1 a b", "-1 1 1 w", ""):
        assert bool(python["LEASE"].fullmatch(text)) == bool(layout.read_lease(text)), text


def as_python(pattern: str) -> str:
    """A Lua pattern as a regular expression, for the patterns of the layout."""
    return (
        pattern.strip("^$").replace("|", r"\|").replace("%d", r"\d").replace("%a", "[A-Za-z]").replace(r"[^\|]", "[^|]")
    )


def test_flags_are_those_that_scripts_test():
    """Each flag that a script asks for, or that submit appends, is known."""
    asked = set(re.findall(r"has_flag\(\w+, '(\w)'\)", TEXT)) | set(re.findall(r"flags \.\. '(\w)'", TEXT))
    assert asked <= set(layout.FLAGS)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("k|r|task|||", layout.Spec("k", "r", Priority.TASK, None, None, "")),
        ("k|r|info|5|1000|pt", layout.Spec("k", "r", Priority.INFO, 5, 1000, "pt")),
        ("k|r|urgent|||", None),
        ("k|r|task|9999999999999999||", None),
        ("~undecodable|r|task|||", layout.Spec(layout.UNREADABLE_KIND, "r", Priority.TASK, None, None, "")),
    ],
)
def test_a_spec_is_read_whole_or_not_at_all(text: str, parts: layout.Spec | None):
    """A number that is too long or a priority that does not exist makes the spec unreadable."""
    assert layout.read_spec(text) == parts


def test_a_lease_a_history_line_an_event_and_a_worker_are_read():
    """Each text in the form that a script writes."""
    assert layout.read_lease("3 2 1700 w 1") == layout.LeaseText(3, 2, 1700, "w 1")
    assert layout.read_history("queued 1700 0 ") == layout.HistoryLine("queued", 1700, 0, "")
    event = layout.read_event("failed id k|r|task 2 w the\nreason")
    assert event == layout.EventText("failed", "id", "k", "r", Priority.TASK, 2, "w", "the\nreason")
    assert layout.read_worker("4 1 1700 host\nsick") == layout.WorkerText(4, 1, 1700, "host", "", "sick")
    assert layout.read_worker("4 1 1700 host 0.3.0") == layout.WorkerText(4, 1, 1700, "host", "0.3.0", "")
    assert layout.read_entry_ms("1700-3") == 1700
    assert layout.read_entry_ms("1700") is None
