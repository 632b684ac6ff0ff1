"""Location of the kubeconfig, and its current namespace, without connecting to the cluster.

Only the file is read, as YAML, so `agentpool submit` stays fast. `agentpool_core.kube.client` opens connections.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml


def path() -> Path | None:
    """The kubeconfig in use: the first file of KUBECONFIG that is there, else ~/.kube/config; None: there is none."""
    candidates = _named() or _at_home()
    return next((file for file in candidates if file.is_file()), None)


def missing() -> Path | None:
    """Return the file named by KUBECONFIG if none of the named files exists; None otherwise."""
    named = _named()
    return named[0] if named and path() is None else None


def _at_home() -> list[Path]:
    try:
        return [Path.home() / ".kube" / "config"]
    except RuntimeError:  # a user that the system does not know, and no HOME: as with a random uid in a container
        return []


def _named() -> list[Path]:
    return [Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]


def current_namespace() -> str | None:
    """The namespace of the current context; None where none is set or the file cannot be read."""
    found = path()
    if found is None:
        return None
    try:
        config: Any = yaml.safe_load(found.read_text())
        contexts = {context["name"]: context["context"] for context in config.get("contexts") or []}
        namespace = contexts[config["current-context"]].get("namespace")
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return str(namespace) if namespace else None
