"""The previous release, as its own files: the programs of a test run from them, beside the programs of this release.

The files come from the history of the project, so a checkout without it has no previous release.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
VERSION, COMMIT = "0.2.0", "c1ad7c9ae1d6d0f881804b0f9085e53190532e60"
_PACKAGES = ("core", "operator", "worker", "gateway", "local")


@dataclass(frozen=True)
class Release:
    """The files of a release."""

    root: Path

    def environment(self, *more: Path) -> dict[str, str]:
        """Return the environment of a program that runs this release; `more` are further places of modules."""
        places = [*(self.root / package for package in _PACKAGES), *more]
        return {"PYTHONPATH": ":".join(map(str, places))}

    @property
    def definition(self) -> Path:
        """The definition of the AgentPool resource."""
        return self.root / "crds" / "agentpools.yaml"


PRESENT = Release(PROJECT)


def previous_release(directory: Path) -> Release | None:
    """Return the previous release, unpacked into the directory; None where the history lacks it."""
    packed = subprocess.run(
        ["git", "archive", COMMIT, "crds", *_PACKAGES], cwd=PROJECT, capture_output=True, check=False
    )
    if packed.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(directory, filter="data")
    return Release(directory)
