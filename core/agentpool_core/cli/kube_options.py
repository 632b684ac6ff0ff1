"""`--context` and `--kubeconfig`, as kubectl has them, before or after the subcommand.

The options set the variables that `agentpool_core.kube.kubeconfig` reads, for the time of the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from agentpool_core.kube.kubeconfig import CONTEXT_VARIABLE


def kube_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--context` and `--kubeconfig` to a command."""
    for name, variable, metavar, text in (
        ("--context", CONTEXT_VARIABLE, "NAME", "Context of the kubeconfig. Default: the current one."),
        ("--kubeconfig", "KUBECONFIG", "FILE", "The kubeconfig. Default: as kubectl."),
    ):
        add = click.option(name, metavar=metavar, expose_value=False, callback=_setting(variable), help=text)
        function = add(function)
    return function


def namespace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-n/--namespace` to the command line's root: the default of all subcommands."""
    text = "Namespace of pools that are named without one."
    add = click.option("-n", "--namespace", expose_value=False, callback=_setting("AGENTPOOL_NAMESPACE"), help=text)
    return add(function)


def _setting(variable: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    """Return a callback that sets a variable until the end of the command."""

    def set_variable(context: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is None:
            return
        before = os.environ.get(variable)
        os.environ[variable] = value

        def restore() -> None:
            if before is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = before

        context.find_root().call_on_close(restore)

    return set_variable
