"""A single version, the form of the changelog, and the tool that prepares a release."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}  # of Keep a Changelog


def loaded() -> ModuleType:
    """The tool as a module; tools are programs, not packages."""
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = loaded()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(("name", "text"), release.PLACES)
def test_every_place_names_the_version_of_the_project(name: str, text: str):
    """The version in pyproject.toml applies to distributions, chart, images and pages."""
    before, _, after = text.rpartition("VERSION")
    found = {match[0] for match in release.pattern(text).finditer((ROOT / name).read_text())}
    assert found == {f"{before}{release.current()}{after}"}


def test_the_changelog_keeps_the_form():
    """An open section on top, then released versions with a date, newest first; each has only the known headings."""
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:]]
    assert all(versions), headings
    numbers = [tuple(map(int, version.groups())) for version in versions if version]
    assert numbers == sorted(set(numbers), reverse=True)
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS


def test_a_release_writes_the_version_at_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Afterwards no place names the former version, and the changelog has a dated section below the open section."""
    for name in {name for name, _ in release.PLACES} | {"CHANGELOG.md"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["release.py", "7.8.9"])
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Fixed\n\n- A leak.\n")
    release.main()
    assert release.current() == "7.8.9"
    for name, text in release.PLACES:
        assert "7.8.9" in "".join(match[0] for match in release.pattern(text).finditer((tmp_path / name).read_text()))
    written = (tmp_path / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[7\.8\.9\] - \d{4}-\d\d-\d\d\n\n### Fixed\n\n- A leak\.\n$", written)
    assert release.notes(written, "7.8.9") == "### Fixed\n\n- A leak."


@pytest.mark.parametrize(
    ("changelog", "problem"),
    [
        ("## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\n- A leak.\n", r"\[Unreleased\] is empty"),
        ("## [1.0.0] - 2026-01-01\n\n- A leak.\n", r"\[Unreleased\] is empty"),
        ("## [Unreleased]\n\n- A leak.\n\n## [1.2.3] - 2026-01-01\n", r"\[1\.2\.3\] is there already"),
    ],
)
def test_a_release_without_changes_or_for_the_second_time_is_refused(changelog: str, problem: str):
    """Without changes in the changelog there is no release, and no version is released twice."""
    with pytest.raises(release.ReleaseError, match=problem):
        release.close_section(changelog, "1.2.3", "2026-02-03")


@pytest.mark.parametrize("arguments", [["missing"], ["1.2"], ["v1.2.3"], ["1.2.3", "4.5.6"]])
def test_only_a_plain_version_can_be_released(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    """Three numbers, which Helm and Python's packaging both read."""
    monkeypatch.setattr("sys.argv", ["release.py", *arguments])
    with pytest.raises(SystemExit, match=r"make release VERSION=1\.2\.3"):
        release.main()


def test_a_version_that_the_changelog_leaves_open_has_no_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The release workflow asks for them first, and stops there."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n- A leak.\n\n## [1.2.2] - 2026-01-01\n\n- Older.\n")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["release.py", "notes"])
    with pytest.raises(SystemExit, match=r"\[1\.2\.3\] is missing; run make release VERSION=1\.2\.3"):
        release.main()
