"""Hostile objects harm no different object: deep specs, odd labels, shapeless templates, unexpected errors."""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube import deep_json
from agentpool_core.kube.quantities import amount_of
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.capacity.placement import UNREADABLE, Placement
from agentpool_operator.pools import nesting
from agentpool_operator.pools.problems import RETRY_MAX_SECONDS, Failures
from agentpool_operator.pools.registry import Listing, Pools
from agentpool_operator.pools.resync import Resync
from agentpool_operator.queue.reader import QueueReader
from agentpool_operator.reconciler import Reconciler

REF = PoolRef("ns", "p")
SECRET = "QXZ"  # text that an error may repeat; no text of the operator contains these letters


def resource(name: str = "p", **spec):
    metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}, **spec}}


def nested(levels: int, kind: type = dict):
    deep = kind()
    for _ in range(levels):
        deep = {"a": deep} if kind is dict else [deep]
    return deep


def pod(name: str, label: str, owner: dict | None = None):
    metadata = {"name": name, "namespace": "ns", "uid": name, "labels": {"agentpool.dev/pool": label}}
    if owner is not None:
        metadata["ownerReferences"] = [{"controller": True, **owner}]
    return {"metadata": metadata, "spec": {"nodeName": "n", "containers": []}}


@pytest.fixture
def pools():
    found = Pools()
    found.see_pool(resource("good"))
    return found


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("levels", [65, 500, 9_000])
def test_a_spec_nested_too_deeply_is_refused_with_its_path(pools, kind, levels):
    """At any depth, in an event or a list, the pool's condition names the path; the stack never overflows."""
    deep = resource(worker={"template": {"spec": nested(levels, kind)}})
    for _ in range(2):
        pools.see_pool(deep)
    pool = pools.get(REF)
    assert pool.declared.problem.reason == "InvalidSpec"
    assert "spec.worker.template.spec" in pool.declared.problem.message
    assert f"more than {nesting.MAX_SPEC_DEPTH} levels" in pool.declared.problem.message
    assert len(pool.declared.problem.message) < 500
    assert pools.get(PoolRef("ns", "good")).spec is not None
    pools.see_pool(resource())
    assert pools.get(REF).spec is not None


@pytest.mark.parametrize("value", [1, [], {"a": "b"}])
def test_a_variable_without_a_shape_is_refused_with_its_path(pools, value):
    """`TMPDIR` is read because the worker needs a writable directory."""
    worker = {"name": "worker", "env": [{"name": "TMPDIR", "value": value}]}
    pools.see_pool(resource(worker={"template": {"spec": {"containers": [worker]}}}))
    assert pools.get(REF).declared.problem.reason == "InvalidSpec"
    assert "spec.containers.0.env.0.value" in pools.get(REF).declared.problem.message


def test_a_template_of_usual_depth_is_served(pools):
    """Kubernetes' own templates are less than twenty levels deep."""
    pools.see_pool(resource(worker={"template": {"metadata": {"annotations": nested(20)}}}))
    assert pools.get(REF).declared.problem is None


def test_a_spec_that_is_too_deep_is_recognised():
    """The decoder keeps more levels than a spec may have, including the levels around the spec in a list."""
    assert deep_json.READABLE_DEPTH > nesting.MAX_SPEC_DEPTH + 10


@pytest.mark.parametrize("levels", [10, 990, 5_000, 100_000])
def test_an_answer_with_a_deep_object_is_decoded(levels):
    """Only the part beyond the decoder's depth is cut; brackets inside of texts do not count."""
    items = [f'{{"deep": {"[" * levels}{"]" * levels}}}', '{"name": "]}\\"[{", "list": [[1], {"a": 2}]}']
    found = deep_json.loads(f'{{"items": [{items[0]}, {items[1]}]}}'.encode())
    assert found["items"][1] == json.loads(items[1])
    named = None if levels < nesting.MAX_SPEC_DEPTH else "deep" + ".0" * 7 + ".…"
    assert nesting.too_deep(found["items"][0]) == named
    with pytest.raises(ValueError, match="Expecting"):
        deep_json.loads("[" * levels)


@pytest.mark.parametrize("label", ["Not_a.Name", "a..b_", "x" * 63 + "A"])
def test_a_pod_with_a_label_that_no_pool_can_have_is_no_worker(pools, label):
    """Watches, full lists and the inventory of devices skip the pod."""
    good = pod("good-1", "good", {"kind": "ReplicaSet", "name": "good-abc"})
    everything = [pod("odd", label), good]
    pools.see_all(
        None,
        resources=Listing(items=[resource("good")], version="2"),
        deployments=Listing(items=[], version="2"),
        pods=Listing(items=everything, version="2"),
    )
    assert list(pools.get(PoolRef("ns", "good")).pods) == ["good-1"]
    inventory = Inventory()
    inventory.replace_pods(everything)
    assert [holding.name for holding in inventory.holdings_of(PoolRef("ns", "good"))] == ["good-1"]


@pytest.mark.parametrize(
    "owner", [{"kind": "Job", "name": "good-x"}, {"kind": "ReplicaSet", "name": "other-abc"}, {"kind": "ReplicaSet"}]
)
def test_a_pod_with_a_different_controller_is_no_worker(pools, owner):
    """The pod is not counted, and not marked for removal, for any labels."""
    pools.see_pod(pod("theirs", "good", owner))
    assert pools.get(PoolRef("ns", "good")).pods == {}


def test_an_unreadable_object_leaves_the_rest_of_its_list(pools, caplog):
    """A pod without the usual fields is named in the log, and the next pod is read."""
    broken = {"metadata": {"name": "b", "namespace": "ns", "labels": {"agentpool.dev/pool": "good"}}, "status": SECRET}
    good = pod("good-1", "good")
    listed = Listing(items=[broken, good], version="2")
    empty = Listing(items=[], version="2")
    pools.see_all(None, resources=Listing(items=[resource("good")], version="2"), deployments=empty, pods=listed)
    assert list(pools.get(PoolRef("ns", "good")).pods) == ["good-1"]
    assert "ns/b cannot be read and is left out" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "spec",
    [{"affinity": "x"}, {"nodeSelector": [1]}, {"tolerations": ["x"]}, {"affinity": {"nodeAffinity": [1]}},
     {"nodeSelector": {"a": {"b": []}}},
     {"containers": [{"name": "worker", "resources": {"limits": {"cpu": "1e999999"}}}]}],
)  # fmt: skip
def test_a_shapeless_template_takes_no_share_of_a_different_pool(pools, spec):
    """A pool with an unreadable request for devices gets none; a second pool gets all devices."""
    for name, template in (("bad", {"spec": spec}), ("fine", {})):
        pools.see_pool(resource(name, gpu={}, worker={"template": template}))
    inventory = Inventory()
    allocatable = {"cpu": "8", "pods": "110", "nvidia.com/gpu": "2"}
    ready = [{"type": "Ready", "status": "True"}]
    inventory.see_node({"metadata": {"name": "n"}, "status": {"allocatable": allocatable, "conditions": ready}})
    placement = Placement(inventory)
    asking = [pool for pool in pools if pool.gpu is not None]
    granted = placement.place(asking, news={pool.ref for pool in asking}, now=0.0, at=0.0)
    assert granted[PoolRef("ns", "fine")].placeable == 2
    assert granted[PoolRef("ns", "bad")].placeable == 0
    reported = placement.misfit_of(PoolRef("ns", "bad"))
    assert reported == UNREADABLE or "more cpu than any permitted node" in reported or "exclude all nodes" in reported


def test_a_quantity_that_would_fill_the_memory_is_bounded():
    """A template may request 1e999999 units."""
    assert amount_of("cpu", "1e999999") == amount_of("memory", "9e99") == 2**63 - 1
    assert amount_of("memory", "-9e99") == -(2**63) + 1


async def test_an_unexpected_error_in_a_pass_is_a_condition_and_is_retried(pools, caplog):
    """The second pool's pass goes on; the log has the place, but not the error's text."""
    pools.see_pool(resource())
    shown: dict[PoolRef, object] = {}
    done = asyncio.Event()

    async def apply(pool, _spec):
        if pool.ref == REF:
            raise ZeroDivisionError(SECRET)

    async def write(pool):
        shown[pool.ref] = pool.child_problem
        if len(shown) == 2:
            done.set()

    marked: list[PoolRef] = []
    reconciler = Reconciler(
        pools,
        SimpleNamespace(apply=apply),
        SimpleNamespace(write=write),
        SimpleNamespace(record=lambda *_: None),
        leading=lambda: True,
        request_read=marked.append,
    )
    pools.request_all_passes()
    running = asyncio.create_task(reconciler.run())
    async with asyncio.timeout(10):
        await done.wait()
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert shown[PoolRef("ns", "good")] is None
    assert shown[REF].reason == "ReconcileFailed"
    assert "ZeroDivisionError" in shown[REF].message
    assert "in apply" in caplog.text
    assert SECRET not in caplog.text + shown[REF].message


async def test_an_unexpected_error_in_a_reading_is_a_condition_of_a_single_pool():
    """After a failed reading of several pools, each pool is read alone, and only the faulty pool has a condition."""
    pools = Pools()
    for name in ("p", "good"):
        pools.see_pool(resource(name, queue={"redis": {"url": "redis://h"}}))
        pools.get(PoolRef("ns", name)).queue.published = "before"

    async def snapshots(refs):
        if REF in refs:
            raise ZeroDivisionError(SECRET)
        return dict.fromkeys(refs, ConnectionError)

    connection = SimpleNamespace(
        url="redis://h", place="h:6379", inspector=SimpleNamespace(snapshots=snapshots), words=str
    )
    address = SimpleNamespace(url="redis://h", secret="")

    async def addressed(*_):
        return address

    secrets = SimpleNamespace(address=addressed, reread_soon=lambda *_: None)
    reader = QueueReader(secrets, SimpleNamespace(open=lambda *_, **__: connection), None, timeout_s=1)
    for pool in pools:
        pool.queue.address = address
    took: list[PoolRef] = []

    async def take(_connection, pool, _outcome):
        took.append(pool.ref)

    reader._store = take
    await reader.read(list(pools))
    assert took == [PoolRef("ns", "good")]
    assert pools.get(REF).queue.problem.reason == "QueueUnreadable"
    assert SECRET not in pools.get(REF).queue.problem.message


async def test_full_lists_go_on_after_an_unexpected_error(pools):
    """A failed list is not the last list."""
    lists = 0
    twice = asyncio.Event()

    async def listed(*_, **__):
        nonlocal lists
        lists += 1
        if lists == 2:
            twice.set()
        raise RecursionError

    resync = Resync(SimpleNamespace(list=listed), pools, namespaces=(), every_s=0.001)
    running = asyncio.create_task(resync.run())
    async with asyncio.timeout(10):
        await twice.wait()
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


def test_a_lasting_failure_is_logged_ever_less_often_and_tried_ever_later(caplog):
    """The pause doubles up to half a minute; a success resets the pause."""
    failures = Failures()
    pauses = [failures.note("p", ValueError(SECRET), doing="work") for _ in range(16)]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[-1] == RETRY_MAX_SECONDS
    assert len(caplog.records) == 5
    failures.reset("p")
    assert failures.note("p", ValueError(SECRET), doing="work") == pauses[0]
    assert SECRET not in caplog.text


def test_the_traceback_of_a_deep_recursion_is_short(caplog):
    """A thousand equal frames would flood the log."""

    def deeper():
        deeper()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        with pytest.raises(RecursionError) as caught:
            deeper()
    finally:
        sys.setrecursionlimit(limit)
    Failures().note("p", caught.value, doing="work")
    assert caplog.text.count("deeper") < 100
