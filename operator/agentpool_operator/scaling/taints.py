"""Taints of nodes and devices, and the tolerations of pods and claims. `nodes` and `devices` compare them."""

from __future__ import annotations

from dataclasses import dataclass

BLOCKING_EFFECTS = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Taint:
    """A mark that keeps pods away from a node, or claims from a device."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def blocks(self, tolerations: tuple[Toleration, ...]) -> bool:
        """Return whether the taint keeps those away that have these tolerations."""
        return self.effect in BLOCKING_EFFECTS and not any(each.covers(self) for each in tolerations)


@dataclass(frozen=True, kw_only=True, slots=True)
class Toleration:
    """A permission to use what has a taint."""

    key: str = ""  # empty with operator Exists: every taint
    operator: str = "Equal"
    value: str = ""
    effect: str = ""  # empty: every effect

    def covers(self, taint: Taint) -> bool:
        """Return whether this toleration covers that taint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value
