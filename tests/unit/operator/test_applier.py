"""The operator's writes of a pool's children, against an API server that only stores objects."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ForbiddenError, NotThereError, WebhookError
from agentpool_core.redis_address import NOT_LABELLED, Address, SecretError
from agentpool_operator.children import applier
from agentpool_operator.children.applier import Applier
from agentpool_operator.children.contests import FREE_CORRECTIONS
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.views import POOL_LABEL

REF = PoolRef("ns", "p")
RESOURCE = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
    "spec": {"handler": {"command": {"argv": ["true"]}}},
}
AGENTPOOL = paths.agentpools("ns", "p")
DEPLOYMENT = paths.deployments("ns", "p")
BUDGET = paths.disruption_budgets("ns", "p")


class Server:
    """Objects by path; an apply merges into the stored object, to the first level of metadata and spec."""

    def __init__(self):
        self.objects = {AGENTPOOL: RESOURCE}
        self.applied = []
        self.on_apply = lambda _body: None
        self.unasked = ""  # applies to this path meet an unreachable webhook

    async def get(self, path):
        if path not in self.objects:
            raise NotThereError(request=path, status=404, message="not found")
        return self.objects[path]

    async def apply(self, path, body, *, manager):
        if path == self.unasked:
            raise WebhookError(request=path, status=500, message='failed calling webhook "w.example.com"')
        self.on_apply(body)
        self.applied.append(path)
        live = self.objects.get(path, {"metadata": {"uid": path, "generation": 1}})
        merged = {part: {**live.get(part, {}), **body.get(part, {})} for part in ("metadata", "spec")}
        version = str(int(live["metadata"].get("resourceVersion", "0")) + 1)
        self.objects[path] = {**merged, "metadata": {**merged["metadata"], "resourceVersion": version}}
        return self.objects[path]


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pools():
    made = Pools()
    made.see_pool(RESOURCE)
    return made


class Secrets:
    """Secrets without an error, until a test sets the error."""

    def __init__(self):
        self.error = None
        self.found = Address(url="redis://h")

    async def address(self, _pool, _spec):
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def secrets():
    return Secrets()


@pytest.fixture
def one_pass(server, pools, secrets):
    applier = Applier(server, pools, secrets, default_image="image")
    pool = pools.get(REF)

    async def run():
        server.applied.clear()
        pool.child_problem = await applier.apply(pool, pool.spec)
        return server.applied

    return run


def changed(server, **metadata):
    """Change the Deployment's metadata by hand; the generation stays."""
    live = server.objects[DEPLOYMENT]
    version = str(int(live["metadata"]["resourceVersion"]) + 1)
    return {**live, "metadata": {**live["metadata"], "resourceVersion": version, **metadata}}


async def test_a_second_pass_writes_nothing(one_pass):
    """Children in the desired state are left alone."""
    assert await one_pass() == [DEPLOYMENT, BUDGET]
    assert await one_pass() == []


async def test_a_listed_child_without_a_kind_is_in_order(one_pass, server, pools, secrets):
    """A real API server omits apiVersion and kind in the items of a list; a new leader begins with a list."""
    await one_pass()
    listed = changed(server)
    server.objects[DEPLOYMENT] = {part: listed[part] for part in ("metadata", "spec")}
    pools.see_deployment(server.objects[DEPLOYMENT])
    anew = Applier(server, pools, secrets, default_image="image")
    server.applied.clear()
    await anew.apply(pools.get(REF), pools.get(REF).spec)
    assert server.applied == []


@pytest.mark.parametrize("value", [None, "other"])
async def test_a_lost_pool_label_is_restored(one_pass, server, pools, value):
    """Without the label no watch shows the Deployment, and the operator would use an outdated state."""
    await one_pass()
    labels = {key: text for key, text in server.objects[DEPLOYMENT]["metadata"]["labels"].items() if key != POOL_LABEL}
    server.objects[DEPLOYMENT] = changed(server, labels=labels if value is None else labels | {POOL_LABEL: value})
    pools.see_deployment(server.objects[DEPLOYMENT], gone=value is None)
    assert await one_pass() == [DEPLOYMENT]
    assert server.objects[DEPLOYMENT]["metadata"]["labels"][POOL_LABEL] == "p"
    assert await one_pass() == []


async def test_an_orphan_with_the_pools_name_is_adopted(one_pass, server, pools):
    """`kubectl delete --cascade=orphan` leaves running workers; the pool, applied again, owns the workers again."""
    await one_pass()
    server.objects[DEPLOYMENT] = changed(server, ownerReferences=[])
    pools.see_deployment(server.objects[DEPLOYMENT])
    assert await one_pass() == [DEPLOYMENT]
    assert pools.get(REF).owns_deployment
    assert pools.get(REF).child_problem is None


async def test_an_orphan_without_our_mark_is_left_alone(one_pass, server, pools):
    """A Deployment with the same name is foreign, even with the pool's label."""
    await one_pass()
    server.objects[DEPLOYMENT] = changed(server, ownerReferences=[], labels={POOL_LABEL: "p"})
    pools.see_deployment(server.objects[DEPLOYMENT])
    assert await one_pass() == []
    assert pools.get(REF).child_problem.reason == "DeploymentNotOwned"


async def test_a_new_pool_waits_for_the_deployment_of_its_predecessor(one_pass, server, pools):
    """A new pool of the same name waits for the garbage collector; the user need not delete or rename anything."""
    await one_pass()
    former = [{"kind": "AgentPool", "name": "p", "uid": "former", "controller": True}]
    server.objects[DEPLOYMENT] = changed(server, ownerReferences=former)
    pools.see_deployment(server.objects[DEPLOYMENT])
    assert await one_pass() == []
    assert pools.get(REF).child_problem.reason == "DeploymentLeaving"


@pytest.mark.parametrize("successor", [None, {**RESOURCE, "metadata": {**RESOURCE["metadata"], "uid": "next"}}])
async def test_no_child_is_made_for_a_pool_with_an_unseen_deletion(one_pass, server, pools, successor):
    """The deletion of the Deployment may be seen first; a new Deployment would be an orphan and block the next pool."""
    await one_pass()
    pools.see_deployment(server.objects.pop(DEPLOYMENT), gone=True)
    server.objects.pop(AGENTPOOL)
    if successor is not None:
        server.objects[AGENTPOOL] = successor
    assert await one_pass() == []
    assert pools.get(REF) is None


async def test_no_child_is_made_for_a_pool_whose_deletion_has_begun(one_pass, server, pools):
    """A finalizer may keep the pool longer than the children."""
    await one_pass()
    pools.see_deployment(server.objects.pop(DEPLOYMENT), gone=True)
    ending = {**RESOURCE["metadata"], "resourceVersion": "2", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    server.objects[AGENTPOOL] = {**RESOURCE, "metadata": ending}
    assert await one_pass() == []
    assert pools.get(REF).deleting


async def test_a_deleted_budget_is_created_again(one_pass, server, monkeypatch):
    """Budgets have no watch, so the operator reads the budget again from time to time."""
    await one_pass()
    del server.objects[BUDGET]
    assert await one_pass() == []
    monkeypatch.setattr(applier, "BUDGET_RECHECK_SECONDS", 0.0)
    assert await one_pass() == [BUDGET]
    assert await one_pass() == []


@pytest.mark.parametrize(("path", "child"), [(DEPLOYMENT, "Deployment"), (BUDGET, "PodDisruptionBudget")])
async def test_an_unreachable_webhook_is_reported_with_its_name_and_the_child(one_pass, server, pools, path, child):
    """The template is not at fault, and running workers are scaled; the problem ends when the webhook answers."""
    server.unasked = path
    await one_pass()
    problem = pools.get(REF).child_problem
    assert problem.reason == "WebhookFailed"
    assert f"the workers' {child}: " in problem.message
    assert "w.example.com" in problem.message
    assert pools.get(REF).blocked is None
    server.unasked = ""
    await one_pass()
    assert pools.get(REF).child_problem is None


def refused(reason):
    return SecretError(reason=reason, field="Secret 's'", problem="it cannot be used", remedy="mend it")


@pytest.mark.parametrize("reason", [NOT_LABELLED, "SecretNotFound", "SecretForbidden", "InvalidRedisURL"])
async def test_no_deployment_is_made_for_a_secret_that_cannot_be_used(one_pass, server, pools, secrets, reason):
    """The kubelet would give the Secret to the pods, although the operator may not read the Secret."""
    secrets.error = refused(reason)
    assert await one_pass() == []
    assert DEPLOYMENT not in server.objects
    assert pools.get(REF).child_problem.reason == reason
    assert pools.get(REF).blocked is not None
    secrets.error = None
    assert await one_pass() == [DEPLOYMENT, BUDGET]
    assert pools.get(REF).child_problem is None


async def test_a_removed_label_stops_the_pool_and_a_missing_secret_does_not(one_pass, pools, secrets):
    """The Secret's owner may withdraw the permission; a Secret that is replaced is missing for a moment."""
    await one_pass()
    secrets.error = refused("SecretNotFound")
    await one_pass()
    assert pools.get(REF).blocked is None
    secrets.error = refused(NOT_LABELLED)
    assert await one_pass() == []
    assert pools.get(REF).blocked.reason == NOT_LABELLED


async def test_a_missing_label_stops_scaling_before_the_next_pass_over_the_children(one_pass, pools):
    """The scaling loop reads the Secret more often; a manual size is not applied either."""
    await one_pass()
    pool = pools.get(REF)
    pool.queue.problem = Problem(reason=NOT_LABELLED, message="no label")
    assert pool.blocked == pool.queue.problem


FOREIGN = {"metadata": {"name": "p", "uid": "theirs", "resourceVersion": "7"}, "spec": {"minAvailable": 1}}


@pytest.mark.parametrize("path", [DEPLOYMENT, BUDGET])
@pytest.mark.parametrize(
    "owners", [[], [{"kind": "Deployment", "name": "p", "uid": "x", "controller": True}]], ids=["nobody's", "owned"]
)
async def test_a_foreign_child_with_the_pools_name_is_left_alone(one_pass, server, pools, path, owners):
    """The child gets no change and no owner, so the garbage collector keeps the child; the pool has a condition."""
    theirs = {**FOREIGN, "metadata": {**FOREIGN["metadata"], "ownerReferences": owners}}
    server.objects[path] = theirs
    assert path not in await one_pass()
    assert server.objects[path] == theirs
    kind = "Deployment" if path == DEPLOYMENT else "PodDisruptionBudget"
    assert pools.get(REF).child_problem.reason == f"{kind}NotOwned"
    assert "left alone" in pools.get(REF).child_problem.message
    assert (pools.get(REF).blocked is None) == (path == BUDGET)  # workers go on without a budget of the pool's own


async def test_a_budget_is_corrected_only_in_its_last_known_state(one_pass, server, monkeypatch):
    """The write is conditional: a budget that was replaced after the read stays."""
    await one_pass()
    monkeypatch.setattr(applier, "BUDGET_RECHECK_SECONDS", 0.0)
    live = server.objects[BUDGET]
    server.objects[BUDGET] = {**live, "spec": {**live["spec"], "maxUnavailable": 5}}
    bodies = []
    monkeypatch.setattr(server, "on_apply", bodies.append)
    assert await one_pass() == [BUDGET]
    assert bodies[0]["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


async def test_a_template_that_no_node_holds_does_not_replace_workers(server, pools, secrets):
    """The change is a condition; the Deployment keeps the earlier template, and is scaled."""
    pool = pools.get(REF)
    answers = iter(["the largest permitted node has 4", ""])

    async def misfit(_pool, _deployment):
        return next(answers)

    keeper = Applier(server, pools, secrets, default_image="image", misfit=misfit)
    assert await keeper.apply(pool, pool.spec) is None
    changed = {**RESOURCE, "spec": {**RESOURCE["spec"], "worker": {"drainSeconds": 7}}}
    pools.see_pool(changed)
    server.applied.clear()
    problem = await keeper.apply(pool, pool.spec)
    assert (problem.reason, problem.stops_scaling, problem.refuses_spec) == ("TemplateUnplaceable", False, True)
    assert "the largest permitted node has 4" in problem.message
    assert server.applied == []
    assert await keeper.apply(pool, pool.spec) is None
    assert DEPLOYMENT in server.applied


def reverted(server, image):
    """A different manager sets the image of the worker."""
    live = server.objects[DEPLOYMENT]
    worker = {"name": "worker", "image": image}
    template = {**live["spec"]["template"], "spec": {**live["spec"]["template"]["spec"], "containers": [worker]}}
    version = str(int(live["metadata"]["resourceVersion"]) + 1)
    entry = {"manager": "reverter", "operation": "Update", "time": "2026-01-01T00:00:00Z"}
    metadata = {**live["metadata"], "resourceVersion": version, "generation": int(version), "managedFields": [entry]}
    return {**live, "metadata": metadata, "spec": {**live["spec"], "template": template}}


async def test_a_manager_that_reverts_each_correction_is_named(one_pass, server, pools):
    """After a few corrections the pool is not Ready, the condition names the manager, and scaling continues."""
    await one_pass()
    writes = 0
    for _ in range(20):
        server.objects[DEPLOYMENT] = reverted(server, "other")
        pools.see_deployment(server.objects[DEPLOYMENT])
        writes += len(await one_pass())
    problem = pools.get(REF).child_problem
    assert writes == FREE_CORRECTIONS
    assert (problem.reason, problem.stops_scaling, problem.refuses_spec) == ("Contested", False, True)
    assert problem.message.startswith("reverter changes")
    assert "containers[worker]" in problem.message


async def test_two_operators_of_a_pool_settle_within_some_writes(server, secrets):
    """The operator with the later name leaves the pool alone and reports the conflict; the first operator continues."""
    seen, keepers = {}, {}
    for name in ("a/op", "b/op"):
        seen[name] = Pools()
        seen[name].see_pool(RESOURCE)
        keepers[name] = Applier(server, seen[name], secrets, default_image=f"image-of-{name[0]}", operator=name)
    for _ in range(10):
        for name, pools in seen.items():
            if DEPLOYMENT in server.objects:
                pools.see_deployment(server.objects[DEPLOYMENT])
            pool = pools.get(REF)
            pool.child_problem = await keepers[name].apply(pool, pool.spec)
    assert server.applied.count(DEPLOYMENT) <= 6
    assert server.objects[DEPLOYMENT]["metadata"]["annotations"]["agentpool.dev/operator"] == "a/op"
    left = seen["b/op"].get(REF)
    assert (left.yielded_to, left.child_problem.reason) == ("a/op", "OperatorConflict")
    assert seen["a/op"].get(REF).child_problem is None


async def test_a_changed_secret_value_replaces_the_workers_and_an_unreadable_value_does_not(one_pass, server, secrets):
    """The checksum follows the address of the pool's Redis, and never shows the address."""

    def checksum():
        template = server.objects[DEPLOYMENT]["spec"]["template"]
        return template["metadata"]["annotations"]["agentpool.dev/redis-checksum"]

    secrets.found = Address(url="redis://:one@h", secret="Secret r, key url")
    await one_pass()
    first = checksum()
    assert await one_pass() == []
    secrets.found = Address(url="redis://:two@h", secret="Secret r, key url")
    assert await one_pass() == [DEPLOYMENT]
    assert checksum() != first
    secrets.error = SecretError(reason="SecretNotFound", field="f", problem="p", remedy="r")
    assert await one_pass() == []


async def test_a_refused_deployment_is_not_written_again_at_every_pass(one_pass, server, pools):
    """The problem stays in the status meanwhile."""

    def refuse(_body):
        raise ForbiddenError(request="r", status=403, message='deployments.apps "p" is forbidden: exceeded quota')

    asked = []
    server.on_apply = lambda body: asked.append(body["kind"]) or refuse(body)
    for _ in range(10):
        await one_pass()
        assert pools.get(REF).child_problem.reason == "DeploymentForbidden"
    assert asked == ["Deployment"]


async def test_a_refused_budget_is_reported_and_blocks_nothing(one_pass, server, pools):
    """The workers run and are scaled without the budget."""

    def refuse(body):
        if body["kind"] == "PodDisruptionBudget":
            raise ForbiddenError(request="r", status=403, message="exceeded quota: q, requested: count/pdb=1")

    server.on_apply = refuse
    await one_pass()
    pool = pools.get(REF)
    assert (pool.child_problem.reason, pool.blocked) == ("PodDisruptionBudgetRefused", None)
    assert DEPLOYMENT in server.objects
