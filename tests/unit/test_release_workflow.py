"""The release workflow: published artifacts, order, rights. actionlint reads the workflow in `tests/chart`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
RELEASE: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
JOBS: dict[str, dict[str, Any]] = RELEASE["jobs"]
ATTESTING = {"id-token": "write", "attestations": "write"}
RIGHTS = {
    "test": {"contents": "read"},
    "build": {"contents": "read"},
    "images": {"contents": "read", "packages": "write", **ATTESTING},
    "chart": {"contents": "read", "packages": "write", **ATTESTING},
    "distributions": ATTESTING,
    "announce": {"contents": "write"},
}


def before(job: str) -> Iterator[str]:
    """All jobs that must succeed before this job."""
    needs = JOBS[job].get("needs", [])
    for need in [needs] if isinstance(needs, str) else needs:
        yield need
        yield from before(need)


def steps(job: str) -> list[dict[str, Any]]:
    """A job's steps."""
    return list(JOBS[job].get("steps", []))


def used(job: str, action: str) -> list[dict[str, Any]]:
    """The inputs of each step of a job that uses an action."""
    return [step.get("with", {}) for step in steps(job) if step.get("uses", "").startswith(f"{action}@")]


def test_only_a_tag_starts_the_workflow():
    """No branch and no pull request publishes."""
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true


def test_each_job_has_only_necessary_rights():
    """Jobs have no rights by default; tests and build cannot publish, and publishing jobs cannot write to the code."""
    assert RELEASE["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == RIGHTS


@pytest.mark.parametrize("job", ["images", "chart", "distributions", "announce"])
def test_nothing_is_published_before_the_tests_have_passed(job: str):
    """The tests are those of each change; the package index, which keeps a version for ever, is last."""
    assert {"test", "build"} <= set(before(job))
    assert {"images", "chart"} <= set(before("distributions"))
    assert JOBS["test"]["uses"] == "./.github/workflows/ci.yaml"
    assert "workflow_call" in yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())[True]


def test_all_that_is_published_has_provenance_and_a_list_of_contents():
    """Attestations of the images in the registry, of the chart, and of the wheels and archives."""
    for job in ("images", "distributions"):
        provenance, contents = used(job, "actions/attest")
        assert "sbom-path" not in provenance
        assert contents["sbom-path"] == "build/sbom.json"
    assert all(inputs["push-to-registry"] for inputs in used("images", "actions/attest"))
    assert used("chart", "actions/attest") == [{"subject-path": "build/agentpool-*.tgz"}]
    assert [inputs["subject-path"] for inputs in used("distributions", "actions/attest")] == ["dist/*", "dist/*"]


def test_the_package_index_trusts_the_workflow_and_gets_no_password():
    """The owner may protect the environment of the workflow with approvals."""
    assert used("distributions", "pypa/gh-action-pypi-publish") == [{"packages-dir": "dist"}]
    assert JOBS["distributions"]["environment"] == "package-index"
    assert "secrets." not in (ROOT / ".github/workflows/release.yaml").read_text()


def test_every_image_of_the_bake_file_is_published():
    """The platforms are those of the bake file's variable."""
    bake = (ROOT / "docker-bake.hcl").read_text()
    (parts,) = re.findall(r'matrix += \{ part = \["(.+)"\] \}', bake)
    assert JOBS["images"]["strategy"]["matrix"]["part"] == parts.split('", "')
    assert 'variable "PLATFORMS"' in bake
    assert RELEASE["env"]["PLATFORMS"] == "linux/amd64,linux/arm64"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_command_contains_an_expression(workflow: Path):
    """A tag's name could be a command; variables of the environment are only text."""
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        assert [step["run"] for step in job.get("steps", []) if "${{" in step.get("run", "")] == []
