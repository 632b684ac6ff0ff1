"""docs/reference/conditions.md lists every reason that the operator reports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from agentpool_core.spec import ON_ITS_WAY, ConditionType
from agentpool_operator.scaling.decision import LIMITS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/reference/conditions.md").read_text()
OPERATOR = ROOT / "operator/agentpool_operator"
WORD = re.compile(r"(?:[A-Z]+[a-z]+)+(?:URL)?")
STATUSES = {"Normal", "Warning", "True", "False", "Unknown"}
OF_READY_POOLS = {"Serving", "Paused", "Starting"}
CHILDREN = ("Deployment", "PodDisruptionBudget")
SHOWN_UNCHANGED = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "Evicted",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "PostStartHookError",
    "PreCreateHookError",
    "PreStartHookError",
    "RegistryUnavailable",
    "RunContainerError",
    "SignatureValidationFailed",
    "TopologyAffinityError",
    "UnexpectedAdmissionError",
}  # of a kubelet: for the page's readers, not for the code, which shows any reason


def words(tree: ast.AST) -> Iterator[str]:
    """Every CamelCase word that stands alone in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
            yield node.value


def given_reasons(tree: ast.AST) -> Iterator[str]:
    """The words that are given as an argument `reason`; those that begin with the kind of a child, for each."""
    assigned = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.Assign)]
    constants = {ast.unparse(node.targets[0]): node.value for node in assigned}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "reason":
            found = list(words(constants.get(ast.unparse(node.value), node.value)))
            is_of_child = isinstance(node.value, ast.JoinedStr)
            yield from (f"{kind}{word}" for kind in CHILDREN for word in found) if is_of_child else found


def reasons() -> set[str]:
    """Every reason of a condition or an event in the code."""
    trees = [ast.parse(path.read_text()) for path in OPERATOR.rglob("*.py")]
    conditions = ast.parse((OPERATOR / "status/conditions.py").read_text())
    addresses = ast.parse((ROOT / "core/agentpool_core/redis_address.py").read_text())
    found = {reason for tree in (*trees, addresses) for reason in given_reasons(tree)}
    found |= {*words(conditions)} - STATUSES - set(ConditionType)
    found |= {node.value.value for node in addresses.body if isinstance(node, ast.Assign) for _ in words(node)}
    return (
        found
        | SHOWN_UNCHANGED
        | {cap.value for cap in LIMITS}
        | {"ScaledUp", "ScaledDown", "PodFailed", "SchedulingGated"}
    )


def test_every_reason_is_on_the_page():
    """The first cell of a row names the reasons; the page has no reason that the code lacks."""
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    listed = {reason for cell in cells for reason in re.findall(r"\w+", cell)} - set(ConditionType)
    code = reasons()
    assert len(code) > 50
    assert code - listed == set()
    assert listed - code == set()


def test_the_conditions_are_the_resources_own():
    """The first table has the conditions in their order."""
    table = PAGE.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(ConditionType)


def test_a_pool_that_is_not_ready_and_needs_no_action_is_on_its_way():
    """`agentpool doctor` and the events report no failure for the reasons of `Ready` under "No action needed"."""
    table = PAGE.partition("## No action needed")[2].partition("\n## ")[0]
    listed = {reason for reason, of in re.findall(r"^\| `(\w+)` \| ([^|]*) \|", table, re.MULTILINE) if "`Ready`" in of}
    assert listed - OF_READY_POOLS == ON_ITS_WAY
