"""Checks of `--node` and `--image` of `agentpool dev` before anything starts.

The devcluster checks them with the same reader, but its refusal would appear only as a part that died during the start.
"""

from __future__ import annotations

from pathlib import Path

from agentpool_core.errors import SettingError
from agentpool_devcluster.node.errors import NodeSetupError
from agentpool_devcluster.node.specification import FORM, parse_node


def check_node(text: str) -> None:
    """Make sure that a node can be read. Raises SettingError."""
    try:
        parse_node(text, state_dir=Path(), images={})
    except NodeSetupError as error:
        problem = str(error).removeprefix(f"node {text!r}: ")
        raise SettingError(field="--node", value=text, problem=problem, remedy=f"the form is {FORM}") from error


def check_image(text: str) -> None:
    """Check that an image has a name and an existing directory. Raises SettingError."""
    name, equals, directory = text.partition("=")
    if not name or not equals or not directory:
        raise SettingError(field="--image", value=text, problem="is not NAME=DIR", remedy="write my/agents=./my-agents")
    if not Path(directory).is_dir():
        raise SettingError(
            field="--image",
            value=text,
            problem=f"there is no directory {directory}",
            remedy="name the directory in which the image's pods are to run",
        )
