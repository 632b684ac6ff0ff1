"""The real kubectl against the API server."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

import yaml

from tests.fixtures.devcluster import Ran
from tests.integration.devcluster.api.test_custom import crane, definition
from tests.integration.devcluster.api.test_objects import deployment

Kubectl = Callable[..., Awaitable[Ran]]


async def ok(kubectl: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    ran = await kubectl(*arguments, stdin=stdin)
    assert ran.code == 0, ran.err
    return ran.out


async def apply(kubectl: Kubectl, *bodies: dict, server_side: bool = False) -> str:
    more = ("--server-side",) if server_side else ()
    return await ok(kubectl, "apply", *more, "-f", "-", stdin=yaml.safe_dump_all(bodies))


async def test_apply_reports_the_kind_of_change(kubectl: Kubectl) -> None:
    """Kubectl apply reports created, unchanged and configured objects."""
    assert await apply(kubectl, deployment()) == "deployment.apps/web created\n"
    assert await apply(kubectl, deployment()) == "deployment.apps/web unchanged\n"
    assert await apply(kubectl, deployment(replicas=3)) == "deployment.apps/web configured\n"
    assert await apply(kubectl, deployment()) == "deployment.apps/web configured\n"
    assert await ok(kubectl, "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "1"


async def test_apply_refuses_unknown_fields(kubectl: Kubectl) -> None:
    """Kubectl apply of a misspelt field is refused by the server's strict validation."""
    ran = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment(replicaz=3)))
    assert (ran.code, 'unknown field "spec.replicaz"' in ran.err) == (1, True)


async def test_custom_resources(kubectl: Kubectl) -> None:
    """Kubectl works with a custom resource: columns, short names, explain, scale, broken input."""
    await apply(kubectl, definition())
    await ok(kubectl, "wait", "--for=condition=Established", "crd/cranes.example.org", "--timeout=10s")
    await apply(kubectl, crane(replicas=1))
    assert re.fullmatch(r"NAME +LOAD +AGE *\none +10 +\d+s *\n", await ok(kubectl, "get", "cr"))
    assert "LIMIT" in await ok(kubectl, "get", "cr", "-o", "wide")
    assert "crane.example.org/one" in await ok(kubectl, "get", "all")
    assert "load" in await ok(kubectl, "explain", "cranes.spec")
    assert "scaled" in await ok(kubectl, "scale", "crane/one", "--replicas=4")
    assert await ok(kubectl, "get", "cr", "one", "-o", "jsonpath={.spec.replicas}") == "4"
    broken = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(crane(load=500)))
    assert (broken.code, "spec.load" in broken.err and "500" in broken.err) == (1, True)
    assert "deleted" in await ok(kubectl, "delete", "cr", "one", "--timeout=10s")


async def test_typed_commands(kubectl: Kubectl) -> None:
    """Commands that send protobuf are understood: create, expose, run, auth, token."""
    await ok(kubectl, "create", "namespace", "team")
    team = ("-n", "team")
    await ok(kubectl, "create", "configmap", "c", "--from-literal=a=b", *team)
    await ok(kubectl, "create", "secret", "generic", "s", "--from-literal=a=b", *team)
    await ok(kubectl, "create", "serviceaccount", "bob", *team)
    await ok(kubectl, "create", "role", "r", "--verb=get", "--resource=pods", *team)
    await ok(kubectl, "create", "rolebinding", "rb", "--role=r", "--serviceaccount=team:bob", *team)
    await ok(kubectl, "create", "deployment", "d", "--image=nginx", "--replicas=2", "--port=80", *team)
    await ok(kubectl, "expose", "deployment", "d", *team)
    await ok(kubectl, "create", "pdb", "p", "--min-available=50%", "--selector=app=d", *team)
    found = json.loads(await ok(kubectl, "get", "secret/s", "deployment/d", "pdb/p", "service/d", "-o", "json", *team))
    secret, deployed, budget, service = found["items"]
    assert secret["data"] == {"a": "Yg=="}
    assert deployed["spec"]["replicas"] == 2
    assert deployed["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 80
    assert budget["spec"]["minAvailable"] == "50%"
    assert service["spec"]["ports"][0]["targetPort"] == 80
    assert await ok(kubectl, "auth", "can-i", "delete", "nodes") == "yes\n"
    assert "devcluster-admin" in await ok(kubectl, "auth", "whoami")
    assert len((await ok(kubectl, "create", "token", "bob", *team)).strip()) > 20


async def test_editing_commands(kubectl: Kubectl) -> None:
    """label, annotate, patch, set image, scale, and server-side apply with its conflict."""
    await apply(kubectl, deployment())
    await ok(kubectl, "label", "deploy/web", "tier=front")
    await ok(kubectl, "annotate", "deploy/web", "note=x")
    await ok(kubectl, "set", "image", "deploy/web", "main=nginx:2")
    await ok(kubectl, "patch", "deploy/web", "-p", '{"spec":{"paused":true}}')
    await ok(kubectl, "scale", "deploy/web", "--replicas=2")
    found = json.loads(await ok(kubectl, "get", "deploy/web", "-o", "json"))
    assert (found["metadata"]["labels"], found["spec"]["paused"], found["spec"]["replicas"]) == (
        {"tier": "front"},
        True,
        2,
    )
    refused = await kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(deployment()))
    assert 'conflict with "kubectl-set" using apps/v1' in refused.err
    described = await ok(kubectl, "describe", "deploy/web")
    assert "nginx:2" in described


async def test_deleting_and_waiting(kubectl: Kubectl) -> None:
    """Kubectl delete waits for the end of the object, and a namespace is deleted with all contents."""
    await ok(kubectl, "create", "namespace", "team")
    await ok(kubectl, "create", "configmap", "c", "-n", "team")
    assert "deleted" in await ok(kubectl, "delete", "namespace", "team", "--timeout=20s")
    assert (await kubectl("get", "namespace", "team")).code == 1


async def test_server_version_and_resources(kubectl: Kubectl) -> None:
    """Kubectl sees the version, and every resource with its short names."""
    assert "v1.36" in (await kubectl("version")).out
    listed = await ok(kubectl, "api-resources")
    assert "deployments" in listed
    assert "apps/v1" in listed


async def test_missing_kinds_and_controllers_are_reported(kubectl: Kubectl) -> None:
    """Kinds that need a missing controller are stored with a warning; unknown kinds are refused."""
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}},
    }  # fmt: skip
    ran = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(job))
    assert (ran.code, "Warning: the devcluster stores Job objects" in ran.err) == (0, True)
    unknown = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**job, "apiVersion": "x.org/v1", "kind": "Odd"}))
    assert (unknown.code, 'no matches for kind "Odd"' in unknown.err) == (1, True)


async def test_pruning_and_dumps_find_every_kind_they_ask_for(kubectl: Kubectl) -> None:
    """`apply --prune` removes an object that is no longer in the file, and `cluster-info dump` reads all kinds."""
    first, second = ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "x"}}}
                     for name in ("first", "second"))  # fmt: skip
    await apply(kubectl, first, second)
    pruned = await ok(kubectl, "apply", "--prune", "-l", "app=x", "-f", "-", stdin=yaml.safe_dump(second))
    assert "configmap/first pruned" in pruned
    await ok(kubectl, "cluster-info", "dump")


async def test_commands_beyond_the_cluster_are_refused_by_name(kubectl: Kubectl) -> None:
    """`get --raw` needs the token in its path, and the answer says so; autoscaling/v1 is named as not served."""
    raw = await kubectl("get", "--raw", "/version")
    assert (raw.code, "kubectl get --raw /token/TOKEN/version" in raw.err) == (1, True)
    config = json.loads(await ok(kubectl, "config", "view", "--raw", "-o", "json"))
    token = "/token/" + config["clusters"][0]["cluster"]["server"].partition("/token/")[2]
    assert "gitVersion" in await ok(kubectl, "get", "--raw", f"{token}/version")
    await apply(kubectl, deployment())
    scaled = await kubectl("autoscale", "deployment", "web", "--min=1", "--max=3")
    assert (scaled.code, "does not serve horizontalpodautoscalers as autoscaling/v1" in scaled.err) == (1, True)
