"""The part of Helm's command line that the documents use, on Helm's own engine, for tests without a `helm` binary.

`AGENTPOOL_TEST_VALUES` names a file of values below those of every install and upgrade: the needs of a cluster without
a default way from pods to the API server.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml


def main() -> None:
    """Run a command; an error exits with a single line, as in Helm."""
    arguments = _parser().parse_args()
    config = helm_python.Config(namespace=arguments.namespace)
    try:
        print(COMMANDS[arguments.command](config, arguments))  # noqa: T201 - a command prints
    except helm_python.HelmError as error:
        sys.exit(f"Error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="helm")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("release")
    parser.add_argument("what", nargs="?", help="chart, or revision")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--timeout", default="5m")
    for flag in ("--wait", "--logs", "--reset-then-reuse-values", "--create-namespace"):
        parser.add_argument(flag, action="store_true")
    return parser


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def _values(settings: list[str]) -> dict[str, Any]:
    """Return the values of `--set` over the cluster's own."""
    below = os.environ.get("AGENTPOOL_TEST_VALUES")
    values: dict[str, Any] = json.loads(Path(below).read_text()) if below else {}
    for setting in settings:
        path, _, value = setting.partition("=")
        *outer, last = path.split(".")
        node = values
        for name in outer:
            node = node.setdefault(name, {})
        node[last] = _value(value)
    return values


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge two trees of values; maps are merged."""
    both = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            both[name] = _laid_over(below[name], above[name])
    return both


def _value(text: str) -> Any:
    """Parse a value as Helm does: `{a,b}` is a list."""
    return text[1:-1].split(",") if text.startswith("{") and text.endswith("}") else yaml.safe_load(text)


def _wait(arguments: argparse.Namespace) -> str | None:
    return "watcher" if arguments.wait else None


def _install(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    release = config.install(
        arguments.what,
        arguments.release,
        _values(arguments.set),
        namespace=arguments.namespace,
        create_namespace=arguments.create_namespace,
        wait=_wait(arguments),
        timeout=_seconds(arguments.timeout),
    )
    return f"STATUS: {release['status']}\nNOTES:\n{release['notes']}"


def _upgrade(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    values = _values(arguments.set)
    # The new chart's defaults, then the user's earlier values, then the new values.
    if arguments.reset_then_reuse_values:
        values = _laid_over(config.get_values(arguments.release), values)
    release = config.upgrade(
        arguments.what,
        arguments.release,
        values,
        namespace=arguments.namespace,
        reset_values=True,
        wait=_wait(arguments),
        timeout=_seconds(arguments.timeout),
    )
    return f"STATUS: {release['status']}\nREVISION: {release['revision']}"


def _rollback(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    revision = int(arguments.what) if arguments.what else None
    config.rollback(arguments.release, version=revision, wait=_wait(arguments), timeout=_seconds(arguments.timeout))
    return "Rollback was a success."


def _history(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    return "\n".join(f"{r['revision']}\t{r['status']}" for r in config.history(arguments.release))


def _test(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    outcome = config.test(arguments.release, timeout=_seconds(arguments.timeout), logs=arguments.logs)
    return str(outcome["logs"])


def _uninstall(config: helm_python.Config, arguments: argparse.Namespace) -> str:
    config.uninstall(arguments.release, wait=_wait(arguments), timeout=_seconds(arguments.timeout))
    return f'release "{arguments.release}" uninstalled'


COMMANDS = {
    "install": _install,
    "upgrade": _upgrade,
    "rollback": _rollback,
    "history": _history,
    "test": _test,
    "uninstall": _uninstall,
}

if __name__ == "__main__":
    main()
