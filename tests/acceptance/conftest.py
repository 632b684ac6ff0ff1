"""The acceptance tests on a given cluster: `pytest tests/acceptance --kubeconfig FILE`.

Tests that start the whole system with `agentpool dev` or `agentpool demo` need the node of a devcluster, with workers
as processes of this machine. They are deselected by name. All remaining tests run, those of `test_any_cluster.py` on
the given cluster.
"""

from __future__ import annotations

import pytest

STARTS_THE_SYSTEM = frozenset({"program", "dev_system", "own_dev_system", "system", "studio"})  # fixtures
_left_out = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that cannot run on a given cluster."""
    if not config.getoption("--kubeconfig"):
        return
    unfit = [item for item in items if _starts_the_system(item)]
    config.hook.pytest_deselected(items=unfit)
    config.stash[_left_out] = [item.nodeid for item in unfit]
    items[:] = [item for item in items if item not in unfit]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the deselected tests, with the reason."""
    names = config.stash.get(_left_out, [])
    if names:
        terminalreporter.section("left out with --kubeconfig: they start a devcluster of their own")
        for name in names:
            terminalreporter.write_line(name)


def _starts_the_system(item: pytest.Item) -> bool:
    in_this_folder = "tests/acceptance/" in item.nodeid
    return in_this_folder and bool(STARTS_THE_SYSTEM & set(getattr(item, "fixturenames", ())))
