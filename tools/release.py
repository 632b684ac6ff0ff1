"""Prepare a release: `python tools/release.py 1.2.3` writes the version at every place that names the version.

The changelog's section `[Unreleased]` becomes the section of the version, under today's date, and a new, empty
`[Unreleased]` opens above. Without an argument the program prints the present version, with `notes` the changelog's
section of that version. The version in `pyproject.toml` is the source; `tests/unit/test_release.py` compares the
copies. `.github/workflows/release.yaml` takes over at the tag.
"""

from __future__ import annotations

import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORM = r"\d+\.\d+\.\d+"  # a form for Helm and the package index
CHANGELOG = "CHANGELOG.md"
OPEN = "## [Unreleased]\n"

# File and text; VERSION stands for the version, and a text may occur several times.
PLACES = (
    ("pyproject.toml", '\nversion = "VERSION"\n'),
    ("pyproject.toml", '"agentpool-devcluster==VERSION"'),
    ("devcluster/pyproject.toml", '\nversion = "VERSION"\n'),
    ("charts/agentpool/Chart.yaml", "\nversion: VERSION\n"),
    ("charts/agentpool/Chart.yaml", "\nappVersion: VERSION\n"),
    ("docker-bake.hcl", 'variable "TAG" { default = "VERSION" }'),
    ("Dockerfile", "\nARG VERSION=VERSION\n"),
    ("docs/install.md", " TAG=VERSION docker buildx bake"),
    ("docs/air-gapped.md", " TAG=VERSION docker buildx bake"),
    ("docs/air-gapped.md", "/agentpool-VERSION.tgz"),
    ("docs/first-agent.md", "/agentpool-worker:VERSION\n"),
    ("docs/handlers-http.md", "image: registry.example/agentpool:VERSION}"),
)


class ReleaseError(Exception):
    """The release cannot be prepared; the message names the file and the remedy."""


def current() -> str:
    """Return the version in `pyproject.toml`."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of a place, with the text before and after the version as groups."""
    before, _, after = text.rpartition("VERSION")
    return re.compile(f"({re.escape(before)}){FORM}({re.escape(after)})")


def set_version(version: str) -> None:
    """Write the version at every place. Raises ReleaseError for a place that is not there."""
    for name, text in PLACES:
        file = ROOT / name
        found = file.read_text(encoding="utf-8")
        written, count = pattern(text).subn(rf"\g<1>{version}\g<2>", found)
        if not count:
            raise ReleaseError(f"{name}: {text.strip()!r} is missing; correct the file, or PLACES in tools/release.py")
        file.write_text(written, encoding="utf-8")


def close_section(changelog: str, version: str, day: str) -> str:
    """Return the changelog with the open section closed as that version. Raises ReleaseError for an empty section."""
    if f"## [{version}]" in changelog:
        raise ReleaseError(f"{CHANGELOG}: [{version}] is there already; choose a later version")
    before, found, after = changelog.partition(OPEN)
    if not found or not notes(changelog, "Unreleased"):
        raise ReleaseError(f"{CHANGELOG}: [Unreleased] is empty; describe the changes that a user notices")
    return f"{before}{OPEN}\n## [{version}] - {day}\n{after}"


def notes(changelog: str, version: str) -> str:
    """Return the section of a version without the heading; empty if there is none."""
    section = re.search(rf"^## \[{re.escape(version)}\].*\n((?:(?!## \[).*\n?)*)", changelog, re.MULTILINE)
    return section[1].strip() if section else ""


def prepare(version: str) -> None:
    """Write the version at every place, and close the changelog's open section. Raises ReleaseError."""
    changelog = ROOT / CHANGELOG
    closed = close_section(changelog.read_text(encoding="utf-8"), version, f"{datetime.now(UTC):%Y-%m-%d}")
    set_version(version)
    changelog.write_text(closed, encoding="utf-8")


def released_notes() -> str:
    """Return the changelog's section of the present version. Raises ReleaseError if the section is still open."""
    found = notes((ROOT / CHANGELOG).read_text(encoding="utf-8"), current())
    if not found:
        raise ReleaseError(f"{CHANGELOG}: [{current()}] is missing; run make release VERSION={current()}, and commit")
    return found


def main() -> None:
    """Run the requested action."""
    try:
        match sys.argv[1:]:
            case []:
                sys.stdout.write(f"{current()}\n")
            case ["notes"]:
                sys.stdout.write(f"{released_notes()}\n")
            case [version] if re.fullmatch(FORM, version):
                prepare(version)
            case _:
                sys.exit("usage: make release VERSION=1.2.3")
    except ReleaseError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
