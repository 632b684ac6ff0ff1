"""The kubeconfig: its files, current context, namespace and exec plugin, without connecting to the cluster.

Files are read as YAML, so `agentpool submit` stays fast; for one value in several files the first file wins, as in
kubectl. The loader of the `kubernetes` package merges clusters and users the same way, but takes the current context of
the last file, so `agentpool_core.kube.connection` passes it the context found here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Entry = Mapping[str, Any]
CONTEXT_VARIABLE = "AGENTPOOL_CONTEXT"  # a context in place of the current one


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """Parts of the current context that the `kubernetes` package does not report."""

    context: str | None  # its name; None: no file sets one
    namespace: str | None  # None: none is set
    plugin: Entry | None  # the exec plugin of its user; None: the user has none


def files() -> list[Path]:
    """Return the kubeconfig files in use: the existing files of KUBECONFIG, else an existing ~/.kube/config."""
    return [file for file in _named() or _at_home() if file.is_file()]


def missing() -> Path | None:
    """Return the file named by KUBECONFIG if none of the named files exists; None otherwise."""
    named = _named()
    return named[0] if named and not files() else None


def current_namespace() -> str | None:
    """Return the namespace of the current context; None where none is set or a file cannot be read."""
    try:
        return current(files()).namespace
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError):
        return None


def current(sources: Sequence[Path]) -> Current:
    """Return the current context of kubeconfig files, or the context that `AGENTPOOL_CONTEXT` names.

    Raises OSError, YAMLError, RecursionError, ValueError or TypeError for a file that is no kubeconfig.
    """
    documents = [document for source in sources if (document := _document(source)) is not None]
    name = os.environ.get(CONTEXT_VARIABLE) or next(
        (found for document in documents if (found := document.get("current-context"))), None
    )
    context = _entry(documents, "contexts", name, "context")
    user = _entry(documents, "users", context.get("user"), "user")
    namespace, plugin = context.get("namespace"), user.get("exec")
    return Current(
        context=name if isinstance(name, str) else None,
        namespace=str(namespace) if namespace else None,
        plugin=plugin if isinstance(plugin, Mapping) else None,
    )


def with_content(sources: Sequence[Path]) -> list[Path]:
    """Return the files that are not empty; the loader of the `kubernetes` package fails at an empty file."""
    return [source for source in sources if _document(source) is not None]


def _document(source: Path) -> Entry | None:
    """Return the content of a file; None: it is empty."""
    document: object = yaml.safe_load(source.read_text())
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise TypeError("no mapping")
    return document


def _entry(documents: Sequence[Entry], section: str, name: object, field: str) -> Entry:
    """Return the first entry of that name in a section of the files; empty without one."""
    for entry in _entries(documents, section):
        if name is not None and entry.get("name") == name:
            found = entry.get(field)
            return found if isinstance(found, Mapping) else {}
    return {}


def _entries(documents: Sequence[Entry], section: str) -> Iterator[Entry]:
    for document in documents:
        entries = document.get(section)
        if isinstance(entries, Sequence):
            yield from (entry for entry in entries if isinstance(entry, Mapping))


def _at_home() -> list[Path]:
    try:
        return [Path.home() / ".kube" / "config"]
    except RuntimeError:  # a user that the system does not know, and no HOME: as with a random uid in a container
        return []


def _named() -> list[Path]:
    return [Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]
