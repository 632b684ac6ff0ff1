"""Every `agentpool` command of every page exists, with its options; the questions page repeats the command's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agentpool_core.cli.root import root

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*(path for path in ROOT.glob("*.md") if path.name != "report.md"), *(ROOT / "docs").rglob("*.md")])
PAGES += sorted((ROOT / "examples").rglob("*.md"))
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
CALL = re.compile(r"(?:^|\$\(|[|&;] |bin/|kubectl )agentpool ([^|;&)\n]*)", re.MULTILINE)
QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")


def calls(page: str) -> Iterator[list[str]]:
    """The words behind `agentpool` of each command in shell blocks and code spans, without quoted arguments."""
    code = [re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(page)]
    prose = FENCE.sub("", page)
    code += [" ".join(span.split()) for span in SPAN.findall(prose)]
    for text in code:
        for call in CALL.findall(QUOTED.sub("QUOTED", text.replace("\\\n", " "))):
            yield call.split()


def command_of(words: list[str]) -> click.Command:
    """The command, or the command of a group, that the first words name."""
    found: click.Command | None = root
    for word in words:
        if not isinstance(found, click.Group) or not re.fullmatch(r"[a-z]+", word):
            break
        found = found.get_command(click.Context(found), word)
        assert found is not None, f"agentpool {' '.join(words)}"
    assert found is not None
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(page: Path):
    """The commands have each option of the page."""
    for words in calls(page.read_text()):
        command = command_of(words)
        context = click.Context(command, info_name="agentpool", **root.context_settings)
        known = {option for param in command.get_params(context) for option in (*param.opts, *param.secondary_opts)}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known | {"-h", "--help"}, f"{page.name}: agentpool {' '.join(words)}"


def test_the_pages_have_commands():
    """The search finds them: in blocks, in sentences, behind an assignment and in a pipe."""
    found = [words for page in PAGES for words in calls(page.read_text())]
    assert len(found) > 120
    assert ["submit", "greet", "QUOTED", "--priority", "critical", "--key", "order-7", "-o", "name"] in found
    assert list(calls("`agentpool get JOB`")) == [["get", "JOB"]]
    with pytest.raises(AssertionError):
        command_of(["subnit"])


def test_the_reasons_on_the_page_are_those_of_the_command():
    """`agentpool get` prints them for a job that waits."""
    page = (ROOT / "docs/faq.md").read_text()
    table = page.partition("| the command prints | remedy |\n|---|---|\n")[2].partition("\n\n")[0]
    source = (ROOT / "core/agentpool_core/pending_reason.py").read_text()
    reasons = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    assert len(reasons) > 6
    assert [part for reason in reasons for part in reason.split(" … ") if part.strip("… ") not in source] == []
