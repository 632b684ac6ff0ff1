"""The house rules of the queue: names in two places are equal, and every script has a header."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentpool_core.jobs import JobId, JobState, PoolRef, Priority, WorkerId
from agentpool_core.queue import keys, scripts
from agentpool_core.queue.keys import Keys, digest_of

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "core/agentpool_core/queue/scripts"
SOURCES = {path.stem: path.read_text() for path in SCRIPTS.glob("*.lua")}
PARTS = {path.stem: path.read_text() for path in (SCRIPTS / "lib").glob("*.lua")}
PAGE = (ROOT / "docs" / "state-machine.md").read_text()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_script_states_its_arguments_and_results(name):
    """A script's header has the name, KEYS, ARGV, the returned outcomes and the written events."""
    source = SOURCES[name]
    assert source.startswith(f"-- {name}: ")
    for word in ("-- KEYS ", "-- ARGV ", "-- Returns ", "-- Events "):
        assert f"\n{word}" in source


def test_every_script_is_loaded_and_complete():
    """Each file has a Script, and no include is left unresolved."""
    assert {script.name for script in scripts.ALL} == set(SOURCES)
    assert not any("--- include" in script.source for script in scripts.ALL)


def test_scripts_and_keys_module_use_the_same_names():
    """The keys that scripts derive are those that the keys module describes."""
    pool = Keys(PoolRef("ns", "name"))
    lua = dict(re.findall(r"local ([A-Z_]+) = PREFIX \.\. '([^']+)'", PARTS["pool"]))
    named = {"COUNTERS": pool.counters, "DUE": pool.due, "TTL": pool.ttl, "DEAD": pool.dead, "BLOCKED": pool.blocked}
    named |= {"WAITING": pool.waiting, "RELEASING": pool.releasing}
    named |= {"LIMITED": pool.limited, "LIMIT_TIMES": pool.limit_times, "LIMIT_OVERRIDES": pool.limit_overrides}
    named |= {"YIELD": pool.yields, "SUSPECTS": pool.suspects, "WORKERS": pool.workers, "WORKER_INFO": pool.worker_info}
    named |= {"WORKER_KINDS": pool.worker_kinds}
    named |= {"BELL": pool.bell, "EVENTS": pool.events, "ENDED": pool.ended}
    assert {name: f"{pool.prefix}{key}" for name, key in lua.items()} == named
    text = "".join([*SOURCES.values(), *PARTS.values()])
    for prefix, key in {
        "job:": pool.job(JobId("x")),
        "kids:": pool.kids(JobId("x")),
        "chunks:": pool.chunks(JobId("x")),
        "key:": pool.idempotency("x"),
        "ctl:": pool.control(WorkerId("x")),
        "inbox:": pool.inbox("x"),
    }.items():
        assert key == f"{pool.prefix}{prefix}{digest_of('x') if prefix == 'key:' else 'x'}"
        assert f"PREFIX .. '{prefix}'" in text
    of_schedules = dict(re.findall(r"(\w+) = PREFIX \.\. '(schedules[^']*)'", PARTS["schedules"]))
    named = (pool.schedules, pool.schedules_due, pool.schedules_last, pool.schedules_paused)
    assert tuple(f"{pool.prefix}{key}" for key in of_schedules.values()) == named
    assert pool.stream("r", Priority.INFO) == f"{pool.prefix}s:r:info"
    for constant in ("GROUP", "READY", "PARKED", "SWEEPER", "SUSPECT"):
        assert f"local {constant} = '{getattr(keys, constant)}'" in PARTS["pool"]


def test_a_purge_deletes_every_key_that_lasts_as_long_as_the_pool():
    """Each constant of the first part is deleted by name."""
    for name in re.findall(r"local ([A-Z_]+) = PREFIX \.\. '", PARTS["pool"]):
        assert re.search(rf"delete\(\{{.*\b{name}\b.*\}}\)", SOURCES["purge"]), name


def test_only_the_servers_clock_decides():
    """No script takes a time from the caller: TIME is read in the first part, and by scripts without that part."""
    text = "".join([*SOURCES.values(), *PARTS.values()])
    short = [name for name, source in SOURCES.items() if "--- include: pool" not in source]
    assert sorted(short) == ["claim_plain", "confirm", "emit", "exchange_plain", "submit_plain"]
    assert text.count("'TIME'") == len(short) - 1  # confirm and emit need no time; lib/pool.lua reads the time
    assert "os.time" not in text


def test_no_script_looks_through_all_keys_or_needs_a_newer_server():
    """Hot paths never scan, and nothing is used that Redis 6.2 lacks."""
    text = "".join([*SOURCES.values(), *PARTS.values()])
    for word in ("'KEYS'", "'SCAN'", "redis.register_function", "'LMPOP'", "'EXPIRETIME'", "redis.acl_check_cmd"):
        assert word not in text


def test_the_state_page_draws_every_state_and_event():
    """The page's states, scripts and events are those of the code."""
    drawing = PAGE.split("```mermaid")[1].split("```")[0]
    arrows = re.findall(r"^ +(\S+) --> (\S+?):? (.*)$", drawing, re.MULTILINE)
    drawn = {state for arrow in arrows for state in arrow[:2]} - {"[*]"}
    assert drawn == {state.value for state in JobState}
    named = set(re.findall(r"\b(submit|claim|settle|signal|maintain|cancel|deregister|replay|discard)\b", drawing))
    assert named <= set(SOURCES)
    text = "".join([*SOURCES.values(), *PARTS.values()])
    ends = {state.value for state in JobState if state.terminal}
    reported = (
        set(re.findall(r"(?:append_event\(|requeue\(job, )'(\w+)'", text)) | ends | {"queued", "scheduled", "blocked"}
    )
    noted = set(re.findall(r"(?:note_change|requeue)\(job, '(\w+)'", text)) | ends
    noted |= {"started", "blocked"}  # the lease shows a start, the state a blocked job
    events, history = PAGE.split("## Events")[1].split("## A job's own history")
    assert set(re.findall(r"`(\w+)`", events)) == reported
    assert set(re.findall(r"`(\w+)`", history)) == reported ^ noted
    terminal = {source for source, target, _ in arrows if target == "[*]"}
    assert terminal == ends


def test_the_state_page_draws_every_move_of_the_model():
    """Each move that the model test allows is an arrow, and each arrow is a move."""
    drawing = PAGE.split("```mermaid")[1].split("```")[0]
    arrows = {arrow[:2] for arrow in re.findall(r"^ +(\S+) --> (\S+?): ", drawing, re.MULTILINE)}
    waiting = {"blocked", "scheduled", "queued"}
    moves = {("[*]", state) for state in (*waiting, "cancelled")}
    moves |= {(state, end) for state in waiting for end in ("cancelled", "expired")}
    moves |= {("blocked", "queued"), ("blocked", "scheduled"), ("scheduled", "queued"), ("queued", "running")}
    moves |= {("running", state) for state in ("succeeded", "failed", "cancelled", "scheduled", "queued", "waiting")}
    moves |= {("waiting", "queued"), ("waiting", "cancelled")}
    moves |= {("failed", "queued"), ("cancelled", "blocked")} | {
        (state.value, "[*]") for state in JobState if state.terminal
    }
    assert arrows == moves
