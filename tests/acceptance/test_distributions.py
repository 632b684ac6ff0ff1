"""The two distributions, built and installed as for a release."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (".", "devcluster")
COMMIT_TIME = "1700000000"  # seconds; any fixed time will do
pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, **options: object) -> str:
    """Return the standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(directory: Path, part: str) -> None:
    """Build a distribution's archive, and the wheel from the archive, as `make dist` does."""
    environment = {"PATH": sysconfig.get_path("scripts") + ":/usr/bin:/bin", "SOURCE_DATE_EPOCH": COMMIT_TIME}
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT / part, env=environment)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with both distributions."""
    directory = tmp_path_factory.mktemp("dist")
    for part in PARTS:
        build(directory, part)
    return directory


def version() -> str:
    """The project's version."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def files(folder: str, below: str = ".") -> set[str]:
    """Return the files of the checkout below a folder, without ignored files, relative to `below`."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder, cwd=ROOT).splitlines()
    return {str(Path(name).relative_to(below)) for name in listed if (ROOT / name).exists()}


def test_the_wheels_hold_their_packages_and_nothing_else(dist: Path):
    """The wheels hold every module, script, console file and typing marker, and the data of `dev` and `demo`."""
    wheel = zipfile.ZipFile(dist / f"agentpool_core-{version()}-py3-none-any.whl").namelist()
    beside = zipfile.ZipFile(dist / f"agentpool_devcluster-{version()}-py3-none-any.whl").namelist()
    data = f"agentpool_core-{version()}.data/data/share/agentpool"
    expected = {f"{data}/{name}" for name in files("crds") | files("examples/repo-analyst")}
    for part in ("core", "operator", "worker", "gateway", "local"):
        expected |= files(f"{part}/agentpool_{part}", part)
    assert {name for name in wheel if ".dist-info/" not in name} == expected
    assert {name for name in beside if ".dist-info/" not in name} == files(
        "devcluster/agentpool_devcluster", "devcluster"
    )
    held = " ".join(wheel)
    assert all(f"agentpool_{part}/py.typed" in held for part in ("core", "operator", "worker", "gateway", "local"))
    assert "agentpool_core/queue/scripts/claim.lua" in held
    assert "agentpool_gateway/console/index.html" in held
    for names in (wheel, beside):
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_same_source_gives_the_same_bytes(dist: Path, tmp_path: Path):
    """Wheels and archives are reproducible, so any user can compare a published file with the commit."""
    for part in PARTS:
        build(tmp_path, part)
    assert len(list(dist.iterdir())) == 4
    for file in dist.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_archives_hold_no_file_that_git_ignores(dist: Path):
    """The archives hold no file of a developer's machine: environments, caches, reports."""
    for name, part in (("agentpool_core", "."), ("agentpool_devcluster", "devcluster")):
        with tarfile.open(dist / f"{name}-{version()}.tar.gz") as archive:
            held = {str(Path(*Path(member).parts[1:])) for member in archive.getnames()}
        assert held - files(part, part) <= {"PKG-INFO", ".gitignore"}, name


def test_the_installed_wheels_have_every_command_and_are_listed(dist: Path, tmp_path: Path):
    """In an environment outside the checkout: `agentpool --help`, `agentpool crd`, and the list of distributions."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin/python"
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", *dist.glob("*.whl"))
    # The dependencies come from the environment of this test, after the packages that were just installed.
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = run(
        python, "-c", "import agentpool_core, agentpool_devcluster as d; print(agentpool_core.__file__, d.__file__)"
    )
    assert found.count(str(packages)) == 2
    text = run(environment / "bin/agentpool", "--help", cwd=tmp_path)
    assert all(f"  {command} " in text for command in ("demo", "dev", "devcluster", "gateway", "operator", "worker"))
    assert version() in run(environment / "bin/agentpool", "--version", cwd=tmp_path)
    assert "agentpools.agentpool.dev" in run(environment / "bin/agentpool", "crd", cwd=tmp_path)
    listed = json.loads(run(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    versions = {entry["name"]: entry["version"] for entry in listed}
    assert versions["agentpool-core"] == versions["agentpool-devcluster"] == version()
    assert {"redis", "pydantic", "kopf", "fastapi", "aiohttp"} <= versions.keys()
