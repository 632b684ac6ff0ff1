"""Write the kubeconfig that leads clients to this server."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import yaml

from agentpool_devcluster.api.objects import Json

_NAME = "devcluster"
_PRIVATE = 0o600  # the file holds the administrator's token


def kubeconfig(url: str, token: str) -> Json:
    """Return the kubeconfig of a server."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": url}}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": "default"}}],
        "current-context": _NAME,
    }


def write_kubeconfig(path: Path, url: str, token: str) -> None:
    """Write the kubeconfig to a file with owner-only permissions. Raises OSError, which names file and cause."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=_PRIVATE)
        partial.write_text(yaml.safe_dump(kubeconfig(url, token), sort_keys=False), encoding="utf-8")
        partial.chmod(_PRIVATE)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        remedy = "name a file in a directory that you may write to"
        raise OSError(f"--kubeconfig: {path} cannot be written ({error.strerror}); {remedy}") from error
