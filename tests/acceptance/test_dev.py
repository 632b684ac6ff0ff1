"""`agentpool dev`, with kubectl beside the system."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
import yaml

from tests.fixtures.kube_access import token_plugin, write_kubeconfig
from tests.fixtures.local_system import DevSystem, eventually

pytestmark = pytest.mark.timeout(180)
needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")

APPS = Path(__file__).parents[1] / "fixtures" / "apps"
EXAMPLE = Path(__file__).parents[2] / "examples" / "repo-analyst"
POOL = yaml.safe_load((EXAMPLE / "agentpool.yaml").read_text())


@pytest.fixture
def pool(dev_system):
    """The example's pool, applied and ready; deleted after the test."""
    yield from applied(dev_system)


def applied(system):
    system.kubectl("apply", "-f", str(EXAMPLE / "agentpool.yaml"))
    system.kubectl("wait", "--for=condition=Ready", "agentpool/repo-analyst", "--timeout=30s")
    yield "agentpool/repo-analyst"
    system.kubectl("delete", "agentpool/repo-analyst", "--ignore-not-found", "--wait=false")
    eventually(lambda: not pods(system), "the pool's pods to be gone")


def pods(system):
    return system.kubectl("get", "pods", "-o", "name").replace("No resources found in default namespace.", "").split()


def spec(**changes):
    return json.dumps({**POOL, "metadata": {"name": "broken"}, "spec": {**POOL["spec"], **changes}})


AGENT = """
from pydantic import BaseModel

from agentpool_worker import App

app = App()


class Greeting(BaseModel):
    name: str


@app.handler("greet")
async def greet(payload: Greeting, ctx) -> str:
    return "Hello " + payload.name
"""


@pytest.mark.timeout(480)  # two whole systems in sequence, each with the limits of its own start, waits and stop
def test_jobs_token_and_addresses_survive_a_restart_on_request(tmp_path):
    """With `--state` the next start has the exports of the last one and its pause, and ends the job that waited.

    The model of the handler is published: a payload that does not fit is refused at the submit.
    """
    (tmp_path / "my_agent.py").write_text(AGENT)
    arguments = ("my_agent:app", "--state", str(tmp_path / "state"))
    first = DevSystem(*arguments, cwd=tmp_path)
    try:
        submitted = first.agentpool("submit", "greet", '{"name": "Ada"}', "--pool=my-agent", "--delay=5s", "-o", "name")
        job = submitted.stdout.strip().rpartition("/")[2]
        assert job, submitted.stderr
        refused = first.agentpool("submit", "greet", '{"name": 5}', "--pool=my-agent")
        assert (refused.returncode, "payload.name" in refused.stderr) == (1, True), refused.stderr
        assert first.agentpool("pause", "--pool=my-agent").returncode == 0
        eventually(lambda: paused(first), "the operator has paused the queue")
    finally:
        first.close()
    second = DevSystem(*arguments, cwd=tmp_path)
    try:
        exports = [(s.kubeconfig, s.redis_url, s.gateway_url, s.token) for s in (first, second)]
        assert exports[0] == exports[1]
        assert paused(second)
        (tmp_path / "my_agent.py").write_text(AGENT.replace("Hello", "Good day,"))
        second.until("my_agent.py changed")
        assert second.agentpool("resume", "--pool=my-agent").returncode == 0
        done = second.agentpool("wait", job, "--pool=my-agent", "--timeout=60s")
        assert "Good day, Ada" in done.stdout, done.stdout + done.stderr
        assert not paused(second)
    finally:
        second.close()


def paused(system):
    return json.loads(system.agentpool("queue", "--pool=my-agent", "-o", "json").stdout)["paused"]


@needs_kubectl
def test_a_job_starts_its_worker(dev_system, pool):
    """A submit to a pool without workers starts a worker, and the result comes back."""
    payload = json.dumps({"root": str(EXAMPLE), "path": "repo_analyst/missing.py"})
    refused = dev_system.agentpool("submit", "code", payload, "--pool=repo-analyst", "--wait", "--wait-timeout=60s")
    assert refused.returncode == 3
    payload = json.dumps({"root": str(EXAMPLE), "path": "repo_analyst/agent.py"})
    done = dev_system.agentpool("submit", "code", payload, "--pool=repo-analyst", "--wait", "--wait-timeout=60s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Python" in done.stdout


@needs_kubectl
def test_get_and_describe_show_the_state_of_the_pool(dev_system, pool):
    """The short name, the printer columns, the conditions and the whole object are printed."""
    header, line = dev_system.kubectl("get", "ap").splitlines()
    assert header.split() == ["NAME", "READY", "DESIRED", "QUEUED", "RUNNING", "OLDEST", "GPUS", "AGE"]
    assert line.split()[0] == "repo-analyst"
    described = dev_system.kubectl("describe", "ap")
    assert "Kind:         AgentPool" in described
    assert "QueueReachable" in described
    whole = yaml.safe_load(dev_system.kubectl("get", pool, "-o", "yaml"))
    assert whole["spec"]["routes"] == POOL["spec"]["routes"]
    assert {each["type"] for each in whole["status"]["conditions"]} >= {"Ready", "QueueReachable", "ScalingActive"}


@needs_kubectl
def test_kubectl_scale_takes_the_pool_over_by_hand(dev_system, pool):
    """Three workers start at the user's request, each a running pod with readable logs."""
    dev_system.kubectl("scale", pool, "--replicas=3")
    eventually(
        lambda: dev_system.kubectl("get", "deployment/repo-analyst", "-o", "jsonpath={.status.readyReplicas}") == "3",
        "three workers to be ready",
    )
    assert len(pods(dev_system)) == 3
    assert "serves pool default/repo-analyst" in dev_system.kubectl("logs", pods(dev_system)[0])


@needs_kubectl
def test_explain_describes_each_field(dev_system):
    """The output has a field's description, type and subfields."""
    explained = dev_system.kubectl("explain", "ap.spec.scaling")
    assert "FIELD: scaling <Object>" in explained
    assert "maxReplicas" in explained


@needs_kubectl
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scaling": {"minReplicas": 9, "maxReplicas": 2}}, ["minReplicas (9)", "maxReplicas (2)", "raise the second"]),
        ({"handler": {}}, ["spec.handler", "exactly one of python, http, command"]),
        ({"worker": {"concurrency": "many"}}, ["spec.worker.concurrency", "integer"]),
        ({"gpu": {"perWorker": 0}}, ["spec.gpu.perWorker", "0", "greater than or equal to 1"]),
    ],
)
def test_a_broken_pool_is_refused_by_field_value_and_remedy(dev_system, changes, told):
    """The API server refuses the pool, and the error names the field, the value and the remedy."""
    refusal = dev_system.kubectl("apply", "-f", "-", document=spec(**changes), check=False)
    for each in told:
        assert each in refusal


@needs_kubectl
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("apiVersion: agentpool.dev/v1alpha1\nkind: [", "error parsing"),
        (
            "apiVersion: agentpool.dev/v1alpha1\nkind: AgentPuddle\nmetadata: {name: a}\n",
            'no matches for kind "AgentPuddle"',
        ),
    ],
)
def test_unreadable_documents_are_refused(dev_system, document, told):
    """Broken YAML and unknown kinds each get a single clear line."""
    assert told in dev_system.kubectl("apply", "-f", "-", document=document, check=False)


@needs_kubectl
def test_deleting_a_pool_deletes_the_workers(own_dev_system):
    """Workers drain, pods and Deployment are deleted, and no step hangs."""
    applied_pool = applied(own_dev_system)
    next(applied_pool)
    own_dev_system.kubectl("scale", "agentpool/repo-analyst", "--replicas=2")
    eventually(lambda: len(pods(own_dev_system)) == 2, "two workers")
    own_dev_system.kubectl("delete", "agentpool/repo-analyst", "--timeout=30s")
    eventually(lambda: not pods(own_dev_system), "the pods to be gone")
    assert "not found" in own_dev_system.kubectl("get", "deployment/repo-analyst", check=False)


@needs_kubectl
def test_deleting_a_pool_works_while_the_operator_is_stopped(own_dev_system):
    """No finalizer exists that only the operator could remove."""
    applied_pool = applied(own_dev_system)
    next(applied_pool)
    operator = own_dev_system.child("agentpool_core", "operator")
    operator.suspend()
    try:
        own_dev_system.kubectl("delete", "agentpool/repo-analyst", "--timeout=30s")
        assert "not found" in own_dev_system.kubectl("get", "agentpool/repo-analyst", check=False)
        eventually(
            lambda: not own_dev_system.kubectl("get", "deployment/repo-analyst", "--ignore-not-found"),
            "the Deployment to be gone",
        )
    finally:
        operator.resume()


@needs_kubectl
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_leaves_nothing(own_dev_system, number):
    """No process, port or file remains, although workers were running."""
    next(applied(own_dev_system))
    own_dev_system.kubectl("scale", "agentpool/repo-analyst", "--replicas=1")
    eventually(lambda: pods(own_dev_system), "a worker")
    family = own_dev_system.family()
    ports = listening(family)
    assert ports
    own_dev_system.process.send_signal(number)
    assert own_dev_system.ended() == 0, own_dev_system.output
    assert "nothing is left behind" in own_dev_system.output
    assert_gone(own_dev_system, family, ports)
    assert own_dev_system.left_behind() == []


@needs_kubectl
def test_ctrl_c_names_the_reason_of_a_wait():
    """A worker may use drainSeconds to end a job; the output names the wait, and the way to skip it."""
    pool = {
        "handler": {"python": {"app": "studio:app"}},
        "worker": {"drainSeconds": 3, "template": {"spec": {"containers": [{"name": "worker", "image": "studio"}]}}},
        "queue": POOL["spec"]["queue"],
    }
    document = {**POOL, "metadata": {"name": "studio"}, "spec": pool}
    with contextlib.closing(DevSystem(f"--image=studio={APPS}")) as system:
        system.kubectl("apply", "-f", "-", document=json.dumps(document))
        system.kubectl("wait", "--for=condition=QueueReachable", "agentpool/studio", "--timeout=60s")
        system.agentpool("submit", "research", '{"seconds": 600}', "--pool=studio")
        running = ("get", "--state=running", "--pool=studio", "-o", "name")
        eventually(lambda: system.agentpool(*running).stdout, "the job runs")
        system.process.send_signal(signal.SIGINT)
        assert system.ended() == 0
        waiting = "waiting for the workers to finish or requeue their jobs, at most 30 s; Ctrl-C again kills"
        assert waiting in system.output


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals a child when its parent is killed")
def test_a_kill_of_agentpool_dev_leaves_no_process(own_dev_system):
    """`kill -9` of `agentpool dev` ends all child processes; the next start removes the files."""
    family = own_dev_system.family()
    ports = listening(family)
    own_dev_system.process.kill()
    assert own_dev_system.ended() == -signal.SIGKILL
    eventually(lambda: not any(map(runs, family)), "every process to be gone")
    assert_gone(own_dev_system, family, ports)


def listening(family):
    found = set()
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # for example of a probe that has ended meanwhile
            connections = each.net_connections("tcp")
            found |= {(one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN}
    return found


def assert_gone(system, family, ports):
    eventually(lambda: not any(map(runs, family)), "every process to be gone")
    for address in ports:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address, timeout=1):
            pytest.fail(f"{address} is still served:\n{system.output}")


def runs(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_dying_component_is_named_and_ends_the_rest(own_dev_system):
    """The exit code is not zero, and the output has the component's name and last lines."""
    family = own_dev_system.family()
    own_dev_system.child("agentpool_core", "devcluster").kill()
    assert own_dev_system.ended() == 1
    assert "error: devcluster was killed by signal 9; its last lines:" in own_dev_system.output
    assert "Traceback" not in own_dev_system.output.partition("error: ")[2]
    eventually(lambda: not any(map(runs, family)), "every process to be gone")
    assert own_dev_system.left_behind() == []


def test_an_operator_and_gateway_that_end_are_started_again(own_dev_system):
    """As on a cluster, the rest keeps running, and new processes serve at the same address.

    A fault that kills or ends operator or gateway must not stop Redis and the jobs.
    """
    ends = {"terminate": "ended with exit code 0", "kill": "was killed by signal 9"}
    for part, end in itertools.product(("operator", "gateway"), ends):
        killed = own_dev_system.child("agentpool_core", part)
        getattr(killed, end)()
        own_dev_system.until(f"{part} {ends[end]}; starting it again")
        eventually(
            lambda: any(each.pid != killed.pid for each in own_dev_system.children("agentpool_core", part)),  # noqa: B023
            f"another {part}",
        )
    eventually(lambda: answers(f"{own_dev_system.gateway_url}/readyz"), "the gateway answers again")
    assert own_dev_system.process.poll() is None


def answers(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return response.status == 200
    return False


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("flag", ["--redis-port", "--api-port"])
def test_a_port_in_use_is_refused_by_name(program, taken_port, flag):
    """A single line names the flag, the port and the remedy, and no process remains."""
    running = program("dev", f"{flag}={taken_port}")
    assert running.ended() != 0
    assert f"error: {flag}: {taken_port}: the port is in use" in running.output
    assert "Traceback" not in running.output
    assert running.left_behind() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--redis=redis://127.0.0.1:1/0"], "no Redis answers at redis://127.0.0.1:1/0"),
        (["--node=big,nvidia.com/gpu=lots"], "error: --node: 'big,nvidia.com/gpu=lots': nvidia.com/gpu: 'lots' is not"),
        (["json:app"], "error: app 'json:app': json has no 'app'; write app = App() there"),
        (["--image=nothing"], "error: --image: 'nothing': is not NAME=DIR"),
    ],
)
def test_bad_flags_are_one_clear_line(program, arguments, told):
    """The line names the bad value; no further output appears, and no process starts."""
    running = program("dev", *arguments)
    assert running.ended() != 0
    assert told in running.output
    (line,) = running.lines
    assert line.startswith("error: ")
    assert running.left_behind() == []


def test_the_log_of_redis_is_shown_on_request_only(program):
    """Redis's warnings about the machine's settings do not concern a first-time user."""
    quiet, verbose = program("dev"), program("dev", "--verbose")
    for running in (quiet, verbose):
        running.until("Ctrl-C here stops everything")
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == 0, running.output
    assert "redis      |" not in quiet.output
    assert "redis      |" in verbose.output  # at least the farewell of Redis


def test_a_kubeconfig_that_cannot_be_written_is_named(program, tmp_path):
    """`agentpool devcluster` names the path, the reason and the remedy."""
    (tmp_path / "file").touch()
    running = program("devcluster", f"--kubeconfig={tmp_path / 'file' / 'kubeconfig'}")
    assert running.ended() == 1
    assert "kubeconfig cannot be written (" in running.output
    assert "name a file in a directory that you may write to" in running.output
    assert "Errno" not in running.output


def test_a_demo_runs_beside_agentpool_dev_and_deletes_the_pool(dev_system, tmp_path):
    """`agentpool demo` uses the running system, with an exec plugin, and deletes the pool."""
    config = yaml.safe_load(Path(dev_system.kubeconfig).read_text())
    server, _, token = config["clusters"][0]["cluster"]["server"].partition("/token/")
    assert token, "the address has the token, as the plugin is to give it"
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, cluster={"server": server}, user={"exec": token_plugin(tmp_path, token)})
    (tmp_path / "input").mkdir()
    for number in range(8):
        (tmp_path / "input" / f"part{number}.py").write_text("def f(a):\n    return a\n")
    done = dev_system.agentpool(
        "demo",
        f"--kubeconfig={kubeconfig}",
        f"--redis={dev_system.redis_url}",
        f"--input={tmp_path / 'input'}",
        f"--report={tmp_path / 'report.md'}",
        f"--json={tmp_path / 'figures.json'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["submitted"], figures["succeeded"], figures["duplicates"]) == (8, 8, 0)
    if shutil.which("kubectl"):
        assert not dev_system.kubectl("get", "agentpools", "-o", "name").startswith("agentpool")


@needs_kubectl
def test_a_demo_leaves_an_existing_pool_alone(dev_system, pool, tmp_path):
    """An existing pool with the demo's name is neither replaced nor deleted; the error names the remedy."""
    uid = dev_system.kubectl("get", pool, "-o", "jsonpath={.metadata.uid}")
    done = dev_system.agentpool(
        "demo",
        f"--kubeconfig={dev_system.kubeconfig}",
        f"--redis={dev_system.redis_url}",
        f"--report={tmp_path / 'report.md'}",
    )
    assert done.returncode != 0
    assert "'default/repo-analyst': exists on that cluster already" in done.stderr
    assert "delete agentpool repo-analyst" in done.stderr
    assert dev_system.kubectl("get", pool, "-o", "jsonpath={.metadata.uid}") == uid
