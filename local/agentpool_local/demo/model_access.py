"""Pass the model server of the user's environment on to the demo's workers.

A pod does not inherit the user's environment, so the settings of the example's `reasoning` agents go into the pool's
pod template: address and model as plain values, the key through a Secret. `session` applies both.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_URL = "OPENAI_BASE_URL"
KEY = "OPENAI_API_KEY"
PLAIN = (BASE_URL, "OPENAI_MODEL")
SECRET = "repo-analyst-model"  # noqa: S105 - a Secret's name


def with_model(pool: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the pool with the model server in the workers' environment; unchanged without a model server."""
    changed = copy.deepcopy(dict(pool))
    if not environment.get(BASE_URL):
        return changed
    entries: list[dict[str, Any]] = [
        {"name": name, "value": environment[name]} for name in PLAIN if environment.get(name)
    ]
    if environment.get(KEY):
        entries.append({"name": KEY, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": KEY}}})
    for container in changed["spec"]["worker"]["template"]["spec"]["containers"]:
        container["env"] = [*container.get("env", ()), *entries]
    return changed


def model_key(environment: Mapping[str, str]) -> str | None:
    """Return the key for the Secret; None without a server or without a key."""
    return (environment.get(KEY) or None) if environment.get(BASE_URL) else None
