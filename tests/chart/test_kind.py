"""`tools/kind.sh` with stand-ins for docker, kind, kubectl, helm and pytest: the calls, their order, and the stops.

No engine runs here. Separate tests cover the effects of the calls: the page and the release on the devcluster.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, manifests, pod_of

STAND_IN = """\
#!/bin/sh
call="${0##*/} $*"
echo "$call TAG=$TAG REDIS=$AGENTPOOL_TEST_REDIS_URL" >> "$CALLS"
case "$call" in
  "$FAILING"*) exit 1 ;;
  "kind get clusters") cat "$CALLS.clusters" 2>/dev/null || true ;;
  "kind create cluster --name agentpool "*) echo agentpool > "$CALLS.clusters" ;;
  "kind get kubeconfig"*) echo "way: in" ;;
  "docker inspect --format"*) echo 172.18.0.9 ;;
esac
"""
TOOLS = ("docker", "kind", "kubectl", "helm", "python")
REAL = ("bash", "cat", "dirname", "git", "grep", "rm", "sed")
FRESH = "kubectl delete customresourcedefinition agentpools.agentpool.dev"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """A PATH with stand-ins, and the recorded calls."""

    folder: Path

    def run(self, *arguments: str, failing: str = "docker inspect agentpool-redis") -> subprocess.CompletedProcess[str]:
        """Run the script; refuse a call that begins with `failing`. By default the script starts Redis."""
        environment = {
            "PATH": str(self.folder),
            "HOME": os.environ["HOME"],  # git checks the owner of the checkout
            "CALLS": str(self.folder / "calls"),
            "FAILING": failing,
            "PYTHON": "python",
            "KUBECONFIG_FILE": str(self.folder / "kubeconfig"),
        }
        script = [ROOT / "tools/kind.sh", *arguments]
        return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)

    def calls(self, start: str) -> list[str]:
        """Return the calls with this beginning, in their order."""
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.startswith(start)]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """Stand-ins for all tools of the script, and only the plain tools beside."""
    for name in REAL:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name in TOOLS:
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)
    return Tools(folder=tmp_path)


def test_the_images_of_the_chart_are_loaded(tools: Tools):
    """The images are built with the chart's appVersion as the tag, and loaded under the names in the rendered pods."""
    ended = tools.run()
    assert ended.returncode == 0, ended.stderr
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    (baked,) = tools.calls("docker buildx bake")
    assert f"TAG={version} " in baked
    (loaded,) = tools.calls("kind load docker-image")
    asked = {c["image"] for m in manifests() if (pod := pod_of(m)) for c in pod["spec"]["containers"]}
    (redis,) = {image for image in asked if "valkey" in image}  # pulled, and the same as beside the cluster
    assert asked - {redis} == {word for word in loaded.split() if word.startswith("agentpool-")}
    assert redis in tools.calls("docker run")[0].split()


def test_each_test_has_a_fresh_cluster_before_the_install_with_the_bundled_redis(tools: Tools):
    """The page and every kind of release run, with a Redis that pods reach; remains are removed first."""
    assert tools.run().returncode == 0
    order = [line.split()[0] for line in tools.calls("") if line.startswith((FRESH, "python", "helm install"))]
    assert order == ["kubectl", "python", "kubectl", "python", "kubectl", "helm"]
    files = [word for line in tools.calls("python") for word in line.split() if word.endswith(".py")]
    assert files == ["tests/chart/test_install_page.py", "tests/chart/test_release.py"]
    assert all((ROOT / file).exists() for file in files)
    for line in tools.calls("python"):
        assert f"--kubeconfig {tools.folder / 'kubeconfig'} " in line
        assert "REDIS=redis://172.18.0.9:6379/0" in line
    assert len(tools.calls("helm test agentpool --namespace agentpool")) == 1


def test_an_existing_cluster_is_reused(tools: Tools):
    """A second run creates neither a cluster nor a Redis."""
    assert tools.run().returncode == 0
    assert tools.run(failing="nothing").returncode == 0
    assert len(tools.calls("kind create cluster")) == 1
    assert len(tools.calls("docker run")) == 1


STEPS = ["kind create", "docker buildx", "kind load", "python", "helm install", "helm test"]


@pytest.mark.parametrize("failing", STEPS)
def test_the_script_stops_at_the_first_failure(tools: Tools, failing: str):
    """The failing call is the last call, and the script fails too."""
    assert tools.run(failing=failing).returncode != 0
    assert tools.calls("")[-1].startswith(failing)


@pytest.mark.parametrize("name", TOOLS)
def test_missing_tools_are_named(tools: Tools, name: str):
    """The script checks the tools before any call."""
    (tools.folder / name).unlink()
    ended = tools.run()
    assert (ended.returncode, ended.stderr) == (1, f"make kind needs {name}, which is not on PATH\n")
    assert not (tools.folder / "calls").exists()


def test_down_removes_everything(tools: Tools):
    """The script removes the cluster, the Redis beside the cluster, and the kubeconfig."""
    assert tools.run().returncode == 0
    assert tools.run("down").returncode == 0
    assert [line.split(" TAG=")[0] for line in tools.calls("")[-2:]] == [
        "docker rm --force agentpool-redis",
        "kind delete cluster --name agentpool",
    ]
    assert not (tools.folder / "kubeconfig").exists()
