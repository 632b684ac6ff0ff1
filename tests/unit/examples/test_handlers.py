"""The example's three handlers, without a queue."""

import json
from types import SimpleNamespace

import pytest
from repo_analyst import app
from repo_analyst.handlers import code, reasoning, text

from agentpool_worker.exceptions import Permanent


def context(state=None):
    saved = []

    async def checkpoint(memory):
        saved.append(memory)

    return SimpleNamespace(job_id="job-1", attempt=2, state=state, checkpoint=checkpoint, saved=saved)


@pytest.fixture
def payload(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "record").mkdir()
    (tmp_path / "input" / "a.py").write_text("def f():\n    return 1\n")
    (tmp_path / "input" / "a.md").write_text("A sentence of enough words stands here.\n")

    def made(path):
        return {"root": str(tmp_path / "input"), "path": path, "record": str(tmp_path / "record")}

    return made


def test_the_app_handles_the_three_kinds():
    """Each route's kind has a handler."""
    assert app.kinds == ("code", "reasoning", "text")


async def test_each_handler_returns_findings_about_its_file(payload):
    """Code is measured, prose summarised, other files answered for; each finding is valid JSON."""
    assert code(payload("a.py"), context())["functions"] == 1
    assert text(payload("a.md"), context())["summary"] == ["A sentence of enough words stands here."]
    ctx = context()
    result = await reasoning(payload("a.md"), ctx)
    assert result["path"] == "a.md"
    assert len(ctx.saved) == len(result["steps"])
    json.dumps(result)


def test_every_run_is_recorded_as_begun_and_ended(payload, tmp_path):
    """The record names the job and the attempt, also when the run fails."""
    code(payload("a.py"), context())
    with pytest.raises(Permanent, match=r"missing\.py cannot be read"):
        code(payload("missing.py"), context())
    (file,) = (tmp_path / "record").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["event"], line["job"], line["attempt"]) for line in lines] == [
        ("began", "job-1", 2),
        ("ended", "job-1", 2),
    ] * 2
