"""The demo on the command line: apply a pool, submit jobs, and watch workers start, finish and stop."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.fixtures.local_system import eventually

pytestmark = pytest.mark.timeout(240)

FIGURES = {
    "submitted", "succeeded", "failed", "duplicates", "peak_replicas", "final_replicas",
    "dispatch_p50_ms", "dispatch_p99_ms", "seconds",
}  # fmt: skip


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "report.md", tmp_path / "figures.json"


def demo(program, directory, outputs, *arguments, **options):
    report, figures = outputs
    return program("demo", f"--input={directory}", f"--report={report}", f"--json={figures}", *arguments, **options)


def figures_of(running, outputs):
    assert running.ended(within_s=200) == 0, running.output
    figures = json.loads(outputs[1].read_text())
    assert set(figures) == FIGURES
    return figures


def assert_every_job_succeeded_once(figures, submitted):
    assert figures["submitted"] == figures["succeeded"] == submitted
    assert (figures["failed"], figures["duplicates"], figures["final_replicas"]) == (0, 0, 0)
    assert figures["peak_replicas"] >= 2
    assert figures["dispatch_p50_ms"] <= figures["dispatch_p99_ms"]


@pytest.fixture
def small_input(tmp_path):
    """A few files of each kind."""
    root = tmp_path / "input"
    root.mkdir()
    for number in range(6):
        (root / f"part{number}.py").write_text(f"import json\n\n\ndef f{number}(a):\n    return a if a else {number}\n")
        (root / f"page{number}.md").write_text(f"# Page {number}\n\nThis page tells what part {number} is for.\n")
        (root / f"settings{number}.yaml").write_text(f"# What part {number} may use.\nname: part{number}\n")
    return root


@pytest.fixture
def long_input(tmp_path):
    """Enough files to keep every worker busy: each search reads all files."""
    root = tmp_path / "input"
    root.mkdir()
    for number in range(120):
        body = "".join(f"def f{line}(a):\n    return a if a > {line} else {number}\n\n\n" for line in range(150))
        (root / f"part{number}.py").write_text(body)
        (root / f"settings{number}.yaml").write_text(f"name: part{number}\n")
    return root


def test_every_job_succeeds_once_and_the_workers_go(program, small_input, outputs):
    """From zero workers to several and back to zero, with a report of the agents' findings and no remains."""
    running = demo(program, small_input, outputs)
    figures = figures_of(running, outputs)
    assert_every_job_succeeded_once(figures, 18)
    report = outputs[0].read_text()
    assert "## Source" in report
    assert "This page tells what part 3 is for." in report
    assert "settings5.yaml defines name." in report
    assert "\nnext:\n" in running.output
    assert running.left_behind() == []


def test_the_demo_needs_no_kubectl(program, small_input, outputs, tmp_path):
    """With only the interpreter's directory on PATH, the demo does the same."""
    path = str(Path(sys.executable).parent)
    if shutil.which("kubectl", path=path):
        pytest.skip("kubectl lies beside the interpreter")
    running = demo(program, small_input, outputs, environment={"PATH": path})
    assert_every_job_succeeded_once(figures_of(running, outputs), 18)


@pytest.fixture
def model():
    """A chat-completions server with a single answer that records the callers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.keys.add(self.headers["Authorization"])
            body = json.dumps({"choices": [{"message": {"content": '{"answer": "Nobody uses it."}'}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.keys = set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_reasoning_agents_ask_the_users_model(program, small_input, outputs, model):
    """With OPENAI_BASE_URL set, the answers come from the model, and the key reaches the model."""
    environment = {"OPENAI_BASE_URL": f"http://127.0.0.1:{model.server_port}/v1", "OPENAI_API_KEY": "hidden"}
    running = demo(program, small_input, outputs, environment=environment)
    assert_every_job_succeeded_once(figures_of(running, outputs), 18)
    assert outputs[0].read_text().count("Nobody uses it.") == 6
    assert model.keys == {"Bearer hidden"}


def test_a_killed_workers_jobs_run_again(program, long_input, outputs):
    """After `kill -9` of a worker during a job, the jobs run again, and each still succeeds once."""
    running = demo(program, long_input, outputs)
    running.until(r"workers [2-9] ready .* reasoning [1-9]")
    victims = [each for each in running.children("worker") if is_worker(each)]
    assert victims, running.output
    busiest = max(victims, key=lambda each: each.cpu_times().user)
    busiest.kill()
    assert_every_job_succeeded_once(figures_of(running, outputs), 240)


def is_worker(process):
    return any(word.endswith("agentpool") for word in process.cmdline())


def test_an_interrupted_demo_leaves_nothing_behind(program, long_input, outputs):
    """Ctrl-C during the demo ends every process, and removes every file except the requested ones."""
    running = demo(program, long_input, outputs)
    running.until(r"running\+queued")
    family = running.family()
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 128 + signal.SIGINT
    eventually(lambda: not any(map(psutil.Process.is_running, family)), "every process to be gone")
    assert running.left_behind() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--redis=redis://127.0.0.1:1/0"], "no Redis answers at redis://127.0.0.1:1/0"),
        (["--redis=http://127.0.0.1"], "write redis://"),
        (["--input=/no/such/directory"], "--input: '/no/such/directory': is not a directory"),
        (["--report=/proc/report.md"], "--report: '/proc/report.md': cannot be written"),
        (["--json=/no/such/figures.json"], "--json: '/no/such/figures.json': cannot be written"),
        (["--kubeconfig=/no/such/kubeconfig", "--redis=redis://127.0.0.1:1/0"], "127.0.0.1:1"),
        (["--kubeconfig=/no/such/kubeconfig"], "--redis: is needed with --kubeconfig"),
    ],
)
def test_bad_input_is_one_clear_line(program, small_input, outputs, arguments, told):
    """Unusable input is named before any process starts, without a traceback."""
    running = demo(program, small_input, outputs, *arguments)
    assert running.ended() != 0
    assert running.lines[-1].startswith("error: ")
    assert told in running.lines[-1]
    assert "Traceback" not in running.output
    assert running.left_behind() == []
