"""Pods on a node: from binding to their confirmed end, through the API alone."""

from __future__ import annotations

import os
import sys

import pytest

from agentpool_devcluster.kube.client import Patch
from agentpool_devcluster.kube.resources import CONFIG_MAPS, EVENTS, PODS, SECRETS
from agentpool_devcluster.node.mounts import mounts_supported
from tests.fixtures.redis import wait_until

from .conftest import NAMESPACE, is_alive


def left_of(*paths):
    return [path for path in paths if os.path.lexists(path)]


async def state_of(kube, name):
    pod = await kube.pod(name)
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or [{}]
    return statuses[0]


async def test_a_pod_runs_to_its_end_and_its_log_remains(kube):
    """Restart policy Never: Succeeded, exit code, times and log."""
    await kube.run("once", "sh", "-c", "echo hello; echo again", restartPolicy="Never")
    pod = await kube.until_phase("once", "Succeeded")
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "Completed"
    assert status["restartCount"] == 0
    assert await kube.log("once") == "hello\nagain\n"
    assert await kube.log("once", tailLines="1") == "again\n"


async def test_a_pod_knows_itself_and_its_image(kube, cluster, tmp_path):
    """Field references, secrets, expansion, the image's directory and module path."""
    (tmp_path / "image" / "greet.py").write_text("WORD = 'from the image'\n")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"url": "redis://"}}
    await kube.apply(SECRETS, secret)
    program = "import greet, os; print(greet.WORD, os.environ['IP'], os.environ['BOTH'], os.getcwd())"
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}},
        {"name": "BOTH", "value": "$(URL)x"},
    ]
    container = {"image": "app:v1", "env": env}
    await kube.run("self", sys.executable, "-c", program, restartPolicy="Never", container=container)
    pod = await kube.until_phase("self", "Succeeded")
    address = pod["status"]["podIP"]
    assert await kube.log("self") == f"from the image {address} redis://x {tmp_path / 'image'}\n"


async def test_readiness_follows_the_probe(kube, tmp_path):
    """The pod is ready when the probe succeeds, and no sooner."""
    flag = tmp_path / "flag"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    await kube.run("slow", "sleep", "60", container={"readinessProbe": probe})
    pod = await kube.until_phase("slow", "Running")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    flag.touch()
    await kube.until_ready("slow")


async def test_a_container_that_fails_its_liveness_probe_is_restarted(kube, tmp_path):
    """A liveness failure ends the run and the next starts; the event has the reason."""
    flag = tmp_path / "alive"
    flag.touch()
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    await kube.run("frail", "sleep", "60", container={"livenessProbe": probe})
    await kube.until_ready("frail")
    flag.unlink()
    assert "liveness probe, will be restarted" in await kube.until_event("frail", "Killing")

    async def restarted():
        return (await state_of(kube, "frail")).get("restartCount", 0) >= 1

    await wait_until(restarted, "the container was restarted")


async def test_an_ending_container_is_probed_for_readiness_alone(kube, tmp_path):
    """As with the kubelet, each failed readiness probe is a warning until the end, and liveness is not probed."""
    flag, go = tmp_path / "flag", tmp_path / "go"
    flag.touch()
    script = f"trap 'rm {flag}' TERM; while [ ! -e {go} ]; do sleep 0.05; done"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 100}
    await kube.run("ends", "sh", "-c", script, container={"readinessProbe": probe, "livenessProbe": probe})
    await kube.until_ready("ends")
    await kube.client.delete(PODS, NAMESPACE, "ends")

    async def warned_twice():
        listed = await kube.client.list(EVENTS, NAMESPACE, fields="involvedObject.name=ends,reason=Unhealthy")
        return listed["items"] if sum(event["count"] for event in listed["items"]) > 2 else None

    warnings = await wait_until(warned_twice, "readiness has failed several times")
    assert {event["message"].split()[0] for event in warnings} == {"Readiness"}
    go.touch()
    await kube.until_gone("ends")


async def test_a_container_that_keeps_failing_is_held_back(kube):
    """The first restart is immediate, the second waits in CrashLoopBackOff; the previous log stays readable."""
    await kube.run("crash", "sh", "-c", "echo run; exit 7")

    async def held_back():
        return (await state_of(kube, "crash")).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"

    await wait_until(held_back, "the container is held back")
    status = await state_of(kube, "crash")
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 7
    assert (await kube.pod("crash"))["status"]["phase"] == "Running"
    assert await kube.log("crash", previous="true") == "run\n"


async def test_deletion_signals_first_and_removes_the_object_last(kube, tmp_path):
    """SIGTERM reaches the program, the program ends, and only then the object disappears."""
    note = tmp_path / "note"
    script = f"trap 'echo bye > {note}; exit 0' TERM; while :; do sleep 0.05; done"
    await kube.run("polite", "sh", "-c", script)
    await kube.until_ready("polite")
    await kube.client.delete(PODS, NAMESPACE, "polite")
    await kube.until_gone("polite")
    assert note.read_text() == "bye\n"


async def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(kube, tmp_path):
    """SIGKILL ends a program that ignores SIGTERM, children included."""
    pid_file = tmp_path / "pid"
    script = f"trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $! > {pid_file}; wait; wait"
    await kube.run("deaf", "sh", "-c", script, terminationGracePeriodSeconds=1)
    await kube.until_ready("deaf")

    async def noted():
        return pid_file.exists() and pid_file.read_text().strip()

    pid = int(await wait_until(noted, "the child has begun"))
    await kube.client.delete(PODS, NAMESPACE, "deaf")
    await kube.until_gone("deaf")
    assert not is_alive(pid)


async def test_a_pre_stop_hook_runs_before_the_signal(kube, tmp_path):
    """The hook's work is finished when SIGTERM arrives."""
    note = tmp_path / "note"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >> {note}"]}}}
    script = f"trap 'echo term >> {note}; exit 0' TERM; while :; do sleep 0.05; done"
    await kube.run("hooked", "sh", "-c", script, container={"lifecycle": hook})
    await kube.until_ready("hooked")
    await kube.client.delete(PODS, NAMESPACE, "hooked")
    await kube.until_gone("hooked")
    assert note.read_text() == "hook\nterm\n"


async def test_init_containers_come_first_and_a_sidecar_stays_beside(kube, tmp_path):
    """Init containers run in order to their end; the sidecar ends after the main container."""
    note = tmp_path / "order"
    say = f"echo $0 >> {note}"
    init = [
        {"name": "first", "image": "x", "command": ["sh", "-c", say, "first"]},
        {
            "name": "side",
            "image": "x",
            "restartPolicy": "Always",
            "command": ["sh", "-c", f"trap 'echo side-ended >> {note}; exit 0' TERM; while :; do sleep 0.05; done"],
        },
        {"name": "second", "image": "x", "command": ["sh", "-c", say, "second"]},
    ]
    await kube.run("staged", "sh", "-c", say, "main", restartPolicy="Never", initContainers=init)
    pod = await kube.until_phase("staged", "Succeeded")
    assert note.read_text().split() == ["first", "second", "main", "side-ended"]
    assert [one["name"] for one in pod["status"]["initContainerStatuses"]] == ["first", "side", "second"]


async def test_a_container_reports_its_wait_for_a_secret(kube):
    """The reason names the secret; once the secret exists, the container starts."""
    env = [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    await kube.run("needy", "sh", "-c", "echo $K", restartPolicy="Never", container={"env": env})

    async def reported():
        waiting = (await state_of(kube, "needy")).get("state", {}).get("waiting", {})
        return waiting if waiting.get("reason") == "CreateContainerConfigError" else None

    assert 'secret "late" not found' in (await wait_until(reported, "the container says what it waits for"))["message"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"k": "v"}}
    await kube.apply(SECRETS, secret)
    await kube.until_phase("needy", "Succeeded")
    assert await kube.log("needy") == "v\n"


async def test_unsupported_fields_are_refused_by_name(kube):
    """The pod stays Pending; its container and an event name the field."""
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
    await kube.run("greedy", "true", volumes=[volume])
    assert "spec.volumes[0].persistentVolumeClaim" in await kube.until_event("greedy", "Unsupported")

    async def waiting():
        return (await state_of(kube, "greedy")).get("state", {}).get("waiting", {}).get("message")

    assert "persistentVolumeClaim" in await wait_until(waiting, "the container's status says why")
    await kube.client.delete(PODS, NAMESPACE, "greedy")
    await kube.until_gone("greedy")


async def test_an_unknown_image_without_a_command_is_not_guessed(kube):
    """No process starts, and the message has the remedy."""
    body = {"metadata": {"name": "blank"}, "spec": {"containers": [{"name": "main", "image": "nowhere"}]}}
    await kube.apply(PODS, {"apiVersion": "v1", "kind": "Pod", **body})

    async def reported():
        waiting = (await state_of(kube, "blank")).get("state", {}).get("waiting", {})
        return waiting if waiting.get("reason") == "ErrImagePull" else None

    assert "--image nowhere=DIR" in (await wait_until(reported, "the container says why it waits"))["message"]


async def test_gpus_are_lent_to_one_pod_at_a_time(kube):
    """Two devices go to two pods, a third pod waits in the scheduler's words, until a device is free again."""
    asks = {"resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}}}
    script = "echo $NVIDIA_VISIBLE_DEVICES; exec sleep 60"
    for name in ("g1", "g2"):
        await kube.run(name, "sh", "-c", script, container=asks)
        await kube.until_ready(name)

    async def logged():
        lines = {await kube.log(name) for name in ("g1", "g2")}
        return lines == {"0\n", "1\n"}

    await wait_until(logged, "each pod has a device of its own")
    await kube.run("g3", "sh", "-c", script, container=asks)
    reported = await kube.until_event("g3", "FailedScheduling")
    assert reported == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    await kube.client.delete(PODS, NAMESPACE, "g1", grace_seconds=1)
    await kube.until_ready("g3")


@pytest.mark.skipif(not mounts_supported(), reason="this host has no mount namespaces")
async def test_volumes_are_mounted(kube):
    """A config map is read and an empty directory shared at their mount paths."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.txt": "alpha"}}
    await kube.apply(CONFIG_MAPS, config)
    mounts = [
        {"name": "conf", "mountPath": "/etc/agentpool-test", "readOnly": True},
        {"name": "work", "mountPath": "/agentpool-work"},
    ]
    await kube.run(
        "mounted",
        "sh",
        "-c",
        "cp /etc/agentpool-test/a.txt /agentpool-work/b.txt && cat /agentpool-work/b.txt",
        restartPolicy="Never",
        volumes=[{"name": "conf", "configMap": {"name": "c"}}, {"name": "work", "emptyDir": {}}],
        container={"volumeMounts": mounts},
    )
    await kube.until_phase("mounted", "Succeeded")
    assert await kube.log("mounted") == "alpha"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_container_over_its_memory_limit_is_killed_as_such(kube):
    """The reason is OOMKilled, with the exit code of SIGKILL."""
    program = "x = bytearray(200 * 2**20); import time; time.sleep(60)"
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    await kube.run("big", sys.executable, "-c", program, restartPolicy="Never", container=limits)
    pod = await kube.until_phase("big", "Failed")
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)


async def test_each_pod_has_an_address_of_its_own(kube):
    """Two pods listen on the same fixed port."""
    program = "import os, socket, time; held = socket.create_server((os.environ['IP'], 8080)); time.sleep(60)"
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    addresses = set()
    for name in ("a", "b"):
        await kube.run(name, sys.executable, "-c", program, container={"env": env, "readinessProbe": probe})
        addresses.add((await kube.until_ready(name))["status"]["podIP"])
    assert len(addresses) == 2 or sys.platform != "linux"


async def test_nothing_remains_after_the_cluster_stops(kube, cluster):
    """No process, no state directory and no kubeconfig remains."""
    await kube.run("stays", "sh", "-c", "pwd; echo $$$$; exec sleep 60")
    await kube.until_ready("stays")

    async def logged():
        return (await kube.log("stays")).splitlines()

    directory, pid = await wait_until(logged, "the pod has written its log")
    await cluster.stop()
    assert not is_alive(pid)
    assert not left_of(directory, cluster.kubeconfig)


@pytest.mark.parametrize("image", ["nowhere", "app"])
async def test_a_failure_without_an_image_explains_the_image_map(kube, image):
    """A missing program is the usual cause; with a mapped image, only the program's own words appear."""
    container = {"image": image, "terminationMessagePolicy": "FallbackToLogsOnError"}
    await kube.run("lost", "sh", "-c", "echo no module >&2; exit 1", restartPolicy="Never", container=container)
    await kube.until_phase("lost", "Failed")
    message = (await state_of(kube, "lost"))["state"]["terminated"]["message"]
    if image == "app":
        assert message == "no module\n"
        assert "ImageNotMapped" not in dict(await kube.events("lost"))
    else:
        assert message.startswith('image "nowhere" is not mapped')
        assert message.endswith("map it with --image nowhere=DIR; its last words: no module")
        assert "--image nowhere=DIR" in await kube.until_event("lost", "ImageNotMapped")


async def test_an_image_is_mapped_while_the_cluster_runs(kube, tmp_path):
    """A pod that waits for its image starts once a ConfigMap maps the image; a missing directory is named."""
    (tmp_path / "entrypoint").write_text("#!/bin/sh\ncat data\n")
    (tmp_path / "entrypoint").chmod(0o755)
    (tmp_path / "data").write_text("mapped later")
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "late/app:2"}]}
    await kube.apply(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"}, "spec": spec})
    assert "kubectl -n kube-system create configmap" in await kube.until_event("late", "Failed")
    body = {"metadata": {"name": "late"}, "data": {"image": "late/app", "directory": str(tmp_path / "absent")}}
    await kube.client.create(CONFIG_MAPS, "kube-system", body)

    async def waits_for_directory():
        waiting = (await state_of(kube, "late"))["state"].get("waiting", {})
        return "absent' is no existing" in waiting.get("message", "")

    await wait_until(waits_for_directory, "the missing directory is named")
    patch = {"data": {"directory": str(tmp_path)}}
    await kube.client.patch(CONFIG_MAPS, "kube-system", "late", patch, kind=Patch.MERGE)
    await kube.until_phase("late", "Succeeded")
    assert await kube.log("late") == "mapped later"
