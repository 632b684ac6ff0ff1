"""The root of the command line: what a missing module looks like, and wrong usage."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from agentpool_core.cli import root


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the console script: its exit code, and what it wrote to standard error."""

    def run(*args: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["agentpool", *args])
        with pytest.raises(SystemExit) as ended:
            root.main()
        return ended.value.code, capsys.readouterr().err

    return run


@click.command()
def late() -> None:
    """Imports what it needs when it runs."""
    import no_such_package.parts  # noqa: F401


@pytest.mark.parametrize("options", [(), ("--port", "0"), ("--help",)])
@pytest.mark.parametrize(
    ("room", "install"),
    [
        ("agentpool_gateway.commands", "agentpool-core[gateway]"),
        ("agentpool_local.commands", "agentpool-core[local]"),
        ("agentpool_core.commands.get", "agentpool-core"),
    ],
)
def test_a_missing_package_is_told_whatever_was_asked_for(told, monkeypatch, options, room: str, install: str):
    """A broken environment is no wrong usage: the flags of a command that cannot be loaded are not looked at."""
    monkeypatch.setattr(root, "entry_points", lambda group: [EntryPoint("broken", f"{room}:it", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda _self: importlib.import_module("no_such_package"))
    code, text = told("broken", *options)
    remedy = f"install it with: pip install '{install}'"
    assert (code, text) == (1, f"error: 'agentpool broken' needs no_such_package, which is not installed; {remedy}\n")
    assert f"(needs {install})" in CliRunner().invoke(root.root, ["--help"]).output


def test_a_package_that_is_missed_only_at_work_is_told_alike(told, monkeypatch):
    """Commands import late what is heavy; without it they end with the remedy and no traceback."""
    entry = EntryPoint("late", f"{__name__}:late", root.GROUP)
    monkeypatch.setattr(root, "entry_points", lambda group: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda _self: late)
    code, text = told("late")
    assert (code, text.count("\n")) == (1, 1)
    assert text.startswith("error: 'agentpool late' needs no_such_package, which is not installed; ")


@pytest.mark.parametrize(
    "module", ["agentpool_core.absent", "agentpool_gateway.absent", "agentpool_absent", "click.absent"]
)
def test_a_module_that_is_missing_by_a_bug_is_not_said_to_need_installing(monkeypatch, module: str):
    """Ours, or a part of a package that is there: nothing that pip brings would mend it, and the traceback helps."""
    imported = click.Command("broken", callback=lambda: importlib.import_module(module))
    monkeypatch.setattr(root, "entry_points", lambda group: [EntryPoint("broken", f"{module}:it", group)])
    with pytest.raises(ModuleNotFoundError, match=module):
        root.root.main(["broken"], standalone_mode=False)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: imported)
    with pytest.raises(ModuleNotFoundError, match=module):
        root.root.main(["broken"], standalone_mode=False)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("nonsense",), "error: No such command 'nonsense'; see 'agentpool --help'\n"),
        (("wait",), "error: Missing argument 'JOB...'; see 'agentpool wait --help'\n"),
        (("get", "--nonsense"), "error: No such option '--nonsense'; see 'agentpool get --help'\n"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(told, args: tuple[str, ...], text: str):
    """As all errors are; the exit code says that it is wrong usage."""
    assert told(*args) == (2, text)


def test_the_list_of_commands_is_whole_on_a_narrow_terminal():
    """Each says what it does in the 80 columns of the oldest terminals."""
    shown = CliRunner().invoke(root.root, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    assert "submit" in shown
    assert "..." not in shown
