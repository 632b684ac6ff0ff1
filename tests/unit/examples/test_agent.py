"""The agent of several steps, the agent's tools and planners."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from repo_analyst.agent import MOST_STEPS, AgentState, Answer, ToolCall, answer
from repo_analyst.chat_planner import ChatPlanner, ModelBusyError, ModelError, decode
from repo_analyst.local_planner import LocalPlanner
from repo_analyst.tools import use
from repo_analyst.workspace import Workspace, WorkspaceError


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "limits.yaml").write_text("# How much each tenant may use.\ncpu: 2\nmemory: 4Gi\n")
    (tmp_path / "main.py").write_text("import yaml\n\nlimits = yaml.safe_load(open('deploy/limits.yaml'))\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    return Workspace.at(str(tmp_path))


def asked(path="deploy/limits.yaml"):
    return AgentState(path=path, question=f"What is {path} for, and who uses it?")


async def collected(workspace, state, planner):
    saved = []

    async def save(memory):
        saved.append(json.loads(json.dumps(memory)))

    return await answer(workspace, state, planner, save), saved


async def test_the_local_planner_answers_from_observations(workspace):
    """The answer names the file's keys, its main words and the files that mention the file."""
    result, saved = await collected(workspace, asked(), LocalPlanner())
    assert [step["tool"] for step in result["steps"]] == [
        "list_directory",
        "read_file",
        "measure_file",
        "grep",
    ]
    assert "cpu, memory" in result["answer"]
    assert "How much each tenant may use" in result["answer"]
    assert "in main.py" in result["answer"]
    assert len(saved) == len(result["steps"])


async def test_a_saved_state_is_resumed(workspace):
    """From any checkpoint the agent does only the remaining steps, and returns the same answer."""
    whole, saved = await collected(workspace, asked(), LocalPlanner())
    for done, memory in enumerate(saved, 1):
        result, more = await collected(workspace, AgentState.from_json(memory), LocalPlanner())
        assert result == whole
        assert len(more) == len(saved) - done


async def test_a_planner_that_never_answers_is_ended(workspace):
    """After the maximum of steps the agent answers without the planner."""

    class Restless:
        async def next(self, state, *, must_answer):
            return ToolCall(tool="list_directory", arguments={"path": "."}, why="again")

    result, saved = await collected(workspace, asked(), Restless())
    assert len(saved) == MOST_STEPS
    assert result["answer"].startswith("no answer within")


def test_tools_never_leave_the_workspace(workspace, tmp_path):
    """Neither dots nor links lead out of the workspace."""
    (tmp_path / "link").symlink_to("/etc")
    assert use(workspace, "read_file", {"path": "../../etc/passwd"}).startswith("error:")
    assert use(workspace, "list_directory", {"path": "link"}).startswith("error:")


def test_a_failing_tool_explains_the_failure(workspace):
    """Unknown tools, missing arguments and binary files lead to an answer, not to an exception."""
    assert "there is no tool 'fly'" in use(workspace, "fly", {})
    assert "needs the argument 'path'" in use(workspace, "read_file", {})
    assert use(workspace, "read_file", {"path": "picture.png"}) == "error: picture.png is not text"


def test_a_missing_input_directory_is_named():
    """A worker without the input names the directory to mount."""
    with pytest.raises(WorkspaceError, match="mount it"):
        Workspace.at("/nowhere/at/all")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"answer": "done"}', Answer(text="done")),
        (
            '```json\n{"tool": "grep", "arguments": {"text": "x"}}\n```',
            ToolCall(tool="grep", arguments={"text": "x"}, why=""),
        ),
        ("I think it is fine.", Answer(text="I think it is fine.")),
        ("[1]", Answer(text="[1]")),
    ],
)
def test_a_models_reply_is_a_call_or_the_answer(reply, expected):
    """A model's reply is a call or the answer, for any text."""
    assert decode(reply) == expected


@pytest.fixture
def model():
    """A model server that replies with the content of `replies`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            code, content = server.replies.pop(0)
            body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.replies = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def planner_for(model):
    planner = ChatPlanner.from_environment({"OPENAI_BASE_URL": f"http://127.0.0.1:{model.server_port}/v1/"})
    assert planner is not None
    return planner


async def test_the_agent_works_with_a_model_server(workspace, model):
    """The model's calls are run, and their findings are part of the next question."""
    model.replies = [
        (200, '{"tool": "read_file", "arguments": {"path": "main.py"}}'),
        (200, '{"answer": "limits"}'),
    ]
    result, _ = await collected(workspace, asked(), planner_for(model))
    assert result["answer"] == "limits"
    assert "import yaml" in model.asked[1]["messages"][-1]["content"]


async def test_a_busy_model_server_differs_from_a_broken_server(model):
    """429 requests a later run; a different status is an error with the server's name and answer."""
    model.replies = [(429, ""), (401, "")]
    with pytest.raises(ModelBusyError):
        await planner_for(model).next(asked(), must_answer=False)
    with pytest.raises(ModelError, match="answered 401"):
        await planner_for(model).next(asked(), must_answer=False)


def test_without_a_server_in_the_environment_there_is_no_chat_planner():
    """The variable OPENAI_BASE_URL selects the planner."""
    assert ChatPlanner.from_environment({}) is None
