"""Where the kubeconfig is, and what it says before anybody speaks to the cluster: the current namespace.

Only the file is read, with nothing but YAML, so that `agentpool submit` stays quick. Who takes over next:
`agentpool.cluster` opens connections.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml


def path() -> Path | None:
    """The kubeconfig in use: the first file of KUBECONFIG, else ~/.kube/config; None where there is none."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    found = Path(named) if named else Path.home() / ".kube" / "config"
    return found if found.is_file() else None


def current_namespace() -> str | None:
    """The namespace of the current context; None where none is set or the file cannot be read."""
    found = path()
    if found is None:
        return None
    try:
        config: Any = yaml.safe_load(found.read_text())
        contexts = {context["name"]: context["context"] for context in config.get("contexts") or []}
        namespace = contexts[config["current-context"]].get("namespace")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None
    return str(namespace) if namespace else None
