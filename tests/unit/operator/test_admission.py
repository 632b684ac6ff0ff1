"""Workers' pods after admission: changes by a dry run, and the behaviour without an answer."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ForbiddenError
from agentpool_operator.capacity import admission
from agentpool_operator.capacity.admission import Admission
from agentpool_operator.capacity.capacity_watch import CapacityWatch
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.capacity.placement import Placement
from agentpool_operator.capacity.rollout_check import RolloutCheck
from agentpool_operator.pools.registry import Pools

REF = PoolRef("ns", "p")
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
TEMPLATE = {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}


class Server:
    """An API server with an admission that tolerates the taint of GPU nodes."""

    def __init__(self):
        self.asked = []
        self.refuses = False

    async def dry_run(self, path, body):
        self.asked.append(path)
        if self.refuses:
            raise ForbiddenError(request=path, status=403, message="forbidden")
        return {**body, "spec": {**body["spec"], "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pools():
    found = Pools()
    spec = {"handler": {"command": {"argv": ["true"]}}, "gpu": {"perWorker": 1}}
    found.see_pool({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec})
    owner = {"uid": "u", "controller": True}
    metadata = {"name": "p", "namespace": "ns", "uid": "d", "ownerReferences": [owner]}
    found.see_deployment({"metadata": metadata, "spec": {"replicas": 0, "template": TEMPLATE}})
    return found


@pytest.fixture
def inventory():
    found = Inventory()
    ready = [{"type": "Ready", "status": "True"}]
    allocatable = {"cpu": "8", "pods": "110", "nvidia.com/gpu": "4"}
    status = {"allocatable": allocatable, "conditions": ready}
    found.see_node({"metadata": {"name": "n"}, "spec": {"taints": [TAINT]}, "status": status})
    return found


@pytest.fixture
def admitted(server, pools):
    return Admission(server, pools, leading=lambda: True)


async def test_a_toleration_that_admission_adds_opens_the_node(server, pools, inventory, admitted):
    """The template alone fits nowhere; the admitted pod does."""
    placement = Placement(inventory, admitted=admitted.known)
    assert placement.place(pools, news={REF}, now=0.0, at=0.0)[REF].placeable == 0
    await admitted.run_once()
    assert placement.place(pools, news={REF}, now=1.0, at=1.0)[REF].placeable == 4
    await admitted.run_once()
    assert server.asked == [paths.pods("ns")]


async def test_without_the_right_to_create_pods_the_template_counts(server, pools, inventory, admitted):
    """A refused dry run is no obstacle, and is not repeated at every look."""
    server.refuses = True
    placement = Placement(inventory, admitted=admitted.known)
    for _ in range(3):
        await admitted.run_once()
    granted = placement.place(pools, news={REF}, now=0.0, at=0.0)[REF]
    assert (granted.placeable, len(server.asked)) == (0, 1)
    assert "nvidia.com/gpu:NoSchedule" in placement.misfit_of(REF)


async def test_a_dry_run_is_repeated_because_webhooks_change(server, admitted, monkeypatch):
    """An old result expires and is requested again."""
    monkeypatch.setattr(admission, "REFRESH_SECONDS", 0.0)
    for _ in range(2):
        await admitted.run_once()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("devices", "runs", "why"),
    [
        ("4", True, ""),
        ("8", False, ""),
        ("8", True, "a worker asks for 8 nvidia.com/gpu; the largest permitted node has 4"),
    ],
)
async def test_a_template_that_fits_nowhere_is_found_before_it_replaces_a_worker(
    server, pools, inventory, admitted, devices, runs, why
):
    """Only running workers are protected; an empty pool loses none."""
    pool = pools.get(REF)
    if runs:
        labels = {"agentpool.dev/pool": "p"}
        pools.see_pod({"metadata": {"name": "p-1", "namespace": "ns", "labels": labels}, "spec": {"nodeName": "n"}})
    watch = CapacityWatch(server, inventory)
    watch.note_listed("nodes")
    watch.note_listed("pods")
    container = {"name": "worker", "resources": {"limits": {"nvidia.com/gpu": devices}}}
    changed = {
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    assert await RolloutCheck(watch, admitted).misfit(pool, changed) == why


async def test_a_change_is_not_refused_where_the_running_workers_seem_not_to_fit(server, pools, admitted):
    """A device plugin that restarts, or devices that are not counted, say nothing about the change."""
    labels = {"agentpool.dev/pool": "p"}
    pools.see_pod({"metadata": {"name": "p-1", "namespace": "ns", "labels": labels}, "spec": {"nodeName": "n"}})
    watch = CapacityWatch(server, Inventory())
    for kind in ("nodes", "pods"):
        watch.note_listed(kind)
    changed = {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"template": TEMPLATE}}
    assert await RolloutCheck(watch, admitted).misfit(pools.get(REF), changed) == ""
