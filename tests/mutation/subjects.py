"""The modules that `make mutation` changes, each with the fast tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SCALING = (
    "tests/unit/operator/test_scaling_decide.py",
    "tests/unit/operator/test_scaling_behavior.py",
    "tests/unit/operator/test_demand.py",
    "tests/unit/operator/test_targets.py",
)
_ACCESS = ("tests/unit/gateway/test_access_table.py",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A module under mutation."""

    path: str  # from the root of the checkout
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """Return the dotted name."""
        return self.path.removesuffix(".py").partition("/")[2].replace("/", ".")

    @property
    def name(self) -> str:
        """Return the last part of the dotted name."""
        return self.module.rpartition(".")[2]

    def source(self) -> str:
        """Return the text of the module."""
        return (ROOT / self.path).read_text(encoding="utf-8")


SUBJECTS = (
    Subject(path="operator/agentpool_operator/scaling/decide.py", tests=_SCALING),
    Subject(path="operator/agentpool_operator/scaling/behavior.py", tests=_SCALING),
    Subject(path="operator/agentpool_operator/scaling/demand.py", tests=_SCALING),
    Subject(path="worker/agentpool_worker/jobs/drain.py", tests=("tests/unit/worker/test_drain.py",)),
    Subject(path="gateway/agentpool_gateway/access/authority.py", tests=_ACCESS),
    Subject(path="gateway/agentpool_gateway/access/table.py", tests=_ACCESS),
    Subject(path="gateway/agentpool_gateway/access/static_tokens.py", tests=("tests/unit/gateway/test_access.py",)),
)
