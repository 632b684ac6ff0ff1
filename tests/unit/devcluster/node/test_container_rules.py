"""Rules of containers: images, devices, backoff, thresholds of probes."""

from __future__ import annotations

import pytest

from agentpool_devcluster.kube.objects import Uid
from agentpool_devcluster.kube.quantity import amounts_of
from agentpool_devcluster.node.backoff import CrashBackoff, wait_text
from agentpool_devcluster.node.devices import DeviceTable, device_environment
from agentpool_devcluster.node.errors import AdmissionError
from agentpool_devcluster.node.images import directory_of, entrypoint_of
from agentpool_devcluster.node.probes import ProbeSpec, Thresholds, port_number
from agentpool_devcluster.node.restrictions import refusals
from agentpool_devcluster.node.settings import RestartBackoff


@pytest.mark.parametrize("image", ["app", "app:v1", "app@sha256:ab", "reg:5000/app:v2"])
def test_an_image_is_found_by_its_name_with_or_without_tag(image, tmp_path):
    """A mapping by bare name serves every tag and digest; the port of a registry is no tag."""
    images = {"app": tmp_path, "reg:5000/app": tmp_path}
    assert directory_of(image, images) == tmp_path
    assert directory_of("other", images) is None


def test_an_executable_entrypoint_is_an_images_default_command(tmp_path):
    """Only an executable file counts."""
    assert entrypoint_of(tmp_path) is None
    entry = tmp_path / "entrypoint"
    entry.write_text("#!/bin/sh\n")
    assert entrypoint_of(tmp_path) is None
    entry.chmod(0o755)
    assert entrypoint_of(tmp_path) == str(entry)


def gpu_pod(uid, count):
    container = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": count}}}
    return {"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [container]}}


def test_no_two_pods_hold_the_same_device():
    """Indices are given once, refused when they run out, and given again after their return."""
    table, offered = DeviceTable(), amounts_of({"nvidia.com/gpu": "3"})
    first = table.allocate(gpu_pod("a", 2), offered)
    assert device_environment(first["main"]) == {"NVIDIA_VISIBLE_DEVICES": "0,1"}
    with pytest.raises(AdmissionError, match="Requested: 2, Available: 1"):
        table.allocate(gpu_pod("b", 2), offered)
    table.release(Uid("a"))
    assert table.allocate(gpu_pod("b", 2), offered)["main"]["nvidia.com/gpu"] == (0, 1)
    assert device_environment({}) == {}


def test_the_backoff_grows_and_a_long_run_resets_the_backoff():
    """The pauses are none, 10 s, 20 s, … up to 5 min; a run of 10 min resets the sequence."""
    backoff = CrashBackoff(settings=RestartBackoff())
    assert [backoff.next_wait(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff.next_wait(601) == 0
    assert [wait_text(seconds) for seconds in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]


def test_a_verdict_needs_several_equal_answers_in_a_row():
    """Two failures and a success are no verdict; three failures are."""
    container = {"readinessProbe": {"httpGet": {"port": 1}, "successThreshold": 2}}
    spec = ProbeSpec.of(container, "readinessProbe")
    thresholds = Thresholds(spec=spec)
    answers = [False, False, True, True, False, False, False]
    verdicts = [thresholds.count(success=answer) for answer in answers]
    assert verdicts == [None, None, None, True, True, True, False]


def test_a_port_is_a_number_or_a_declared_name():
    """Names are looked up among the container's ports."""
    container = {"ports": [{"name": "http", "containerPort": 8080}]}
    assert port_number("http", container) == 8080
    assert port_number(9, container) == 9


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}, "spec.volumes[0].persistentVolumeClaim"),
        ({"containers": [{"name": "c", "tty": True}]}, "spec.containers[0].tty"),
        ({"containers": [{"name": "c", "readinessProbe": {"grpc": {}}}]}, "readinessProbe.grpc"),
        ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]}, "privileged"),
        ({"containers": [{"name": "c", "volumeMounts": [{}]}]}, "volumeMounts"),
        ({"runtimeClassName": "gvisor"}, "runtimeClassName"),
    ],
)
def test_an_unsupported_field_is_refused_by_name(spec, named):
    """Each refusal names the field."""
    (refusal,) = refusals({"spec": spec}, mounts_supported=False)
    assert named in refusal


def test_an_ordinary_pod_is_not_refused():
    """Confinement that is merely not enforced does not stop a pod."""
    spec = {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "v"}], "securityContext": {"runAsNonRoot": True}}],
    }
    assert refusals({"spec": spec}, mounts_supported=True) == []
