"""The root of the command line: missing modules and wrong usage."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from agentpool_core.cli import root


@pytest.fixture
def run_console_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the console script; return the exit code and the text on standard error."""

    def run(*args: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["agentpool", *args])
        with pytest.raises(SystemExit) as ended:
            root.main()
        return ended.value.code, capsys.readouterr().err

    return run


@click.command()
def late() -> None:
    """A command that imports its modules when the command runs."""
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
def test_a_missing_package_is_reported_for_any_arguments(
    run_console_script, monkeypatch, options, room: str, install: str
):
    """A broken environment is no wrong usage: flags of a command that cannot be loaded are not checked."""
    monkeypatch.setattr(root, "entry_points", lambda group: [EntryPoint("broken", f"{room}:it", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda _self: importlib.import_module("no_such_package"))
    code, text = run_console_script("broken", *options)
    remedy = f"install it with: pip install '{install}'"
    assert (code, text) == (1, f"error: 'agentpool broken' needs no_such_package, which is not installed; {remedy}\n")
    assert f"(needs {install})" in CliRunner().invoke(root.root, ["--help"]).output


def test_a_package_that_is_missing_at_run_time_is_reported_alike(run_console_script, monkeypatch):
    """Commands import heavy packages late; without the package they end with the remedy and no traceback."""
    entry = EntryPoint("late", f"{__name__}:late", root.GROUP)
    monkeypatch.setattr(root, "entry_points", lambda group: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda _self: late)
    code, text = run_console_script("late")
    assert (code, text.count("\n")) == (1, 1)
    assert text.startswith("error: 'agentpool late' needs no_such_package, which is not installed; ")


@pytest.mark.parametrize(
    "module", ["agentpool_core.absent", "agentpool_gateway.absent", "agentpool_absent", "click.absent"]
)
def test_a_missing_module_of_ours_is_a_bug(monkeypatch, module: str):
    """The module is ours, or part of an installed package: pip would not help, so the traceback is shown."""
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
        (("sumbit",), "error: No such command 'sumbit'; did you mean submit?; see 'agentpool --help'\n"),
        (("jobs",), "error: No such command 'jobs'; did you mean get jobs?; see 'agentpool --help'\n"),
        (("retry", "j1"), "error: No such command 'retry'; did you mean replay?; see 'agentpool --help'\n"),
        (("dead", "lst"), "error: No such command 'lst'; did you mean list?; see 'agentpool dead --help'\n"),
        (("wait",), "error: Missing argument 'JOB...'; see 'agentpool wait --help'\n"),
        (("get", "--nonsense"), "error: No such option '--nonsense'; see 'agentpool get --help'\n"),
    ],
)
def test_wrong_usage_is_a_single_line_that_names_the_help(run_console_script, args: tuple[str, ...], text: str):
    """The exit code marks wrong usage."""
    assert run_console_script(*args) == (2, text)


def test_the_list_of_commands_is_whole_on_a_narrow_terminal():
    """The description of each command fits into 80 columns."""
    shown = CliRunner().invoke(root.root, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    assert "submit" in shown
    assert "..." not in shown
