"""The pool of `agentpool dev APP`: name, manifest, and the refusal of a missing App."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentpool_core.errors import SettingError
from agentpool_core.spec import AgentPoolSpec
from agentpool_local.app_check import read_routes
from agentpool_local.app_pool import AppPool
from agentpool_local.dev import next_steps


@pytest.fixture
def directory(tmp_path):
    """A directory with two modules and a package."""
    (tmp_path / "my_agent.py").touch()
    (tmp_path / "_.py").touch()
    (tmp_path / "team").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("my_agent:app", "my-agent"),
        ("team.Late_Agents:make.app", "late-agents"),
        ("_:app", "app"),
        ("json:app", "json"),
    ],
)
def test_the_pool_is_named_after_the_module(directory, app, name):
    """A name that Kubernetes takes, for a module in the directory or an installed module."""
    assert AppPool.of(app, directory).name == name


@pytest.mark.parametrize(
    "app", ["my_agent", "my_agent:", ":app", "my-agent:app", "../my_agent:app", "elsewhere:app", ""]
)
def test_an_app_that_cannot_be_found_is_refused(directory, app):
    """The refusal names the argument and the value, and comes before anything starts."""
    with pytest.raises(SettingError) as refusal:
        AppPool.of(app, directory)
    assert (refusal.value.field, refusal.value.value) == ("APP", app)


def test_a_change_of_the_code_changes_the_pod_template_only(directory):
    """New workers start, and the rest of the pool stays; the spec is valid."""
    pool = AppPool.of("my_agent:app", directory)
    before, after = pool.manifest(), pool.manifest("2026-11-28T08:00:00Z")
    assert AgentPoolSpec.model_validate(after["spec"]).worker.template["metadata"]["annotations"]
    del after["spec"]["worker"]["template"]["metadata"]
    assert before == after


def test_the_second_terminal_knows_the_pool_of_an_app(directory):
    """Without an App there is no such pool, and no line."""
    stack = SimpleNamespace(kubeconfig="k", redis_url="r", gateway_url="g", token="t")
    app = AppPool.of("my_agent:app", directory)
    steps = next_steps(stack, app, kind="greet", seconds=1)
    assert "\n  export AGENTPOOL_POOL=default/my-agent\n" in steps
    assert "\n  agentpool submit greet '{}' --pool my-agent --wait\n" in steps
    assert "AGENTPOOL_POOL" not in next_steps(stack, seconds=1)


def test_the_next_steps_name_the_directory_of_a_mapped_image():
    """The steps of the example would lead away from the user's own image."""
    stack = SimpleNamespace(kubeconfig="k", redis_url="r", gateway_url="g", token="t")
    steps = next_steps(stack, images=("desk=/home/ada/desk",), seconds=1)
    assert "\n  Pods of the image desk, with any tag, run in /home/ada/desk.\n" in steps
    assert "repo-analyst" not in steps


PROGRAM = """
from pydantic import BaseModel
from agentpool_worker import App

print("starting")
app = App()

class Greeting(BaseModel):
    name: str

@app.handler("greet")
async def greet(payload: Greeting): ...
"""


async def test_the_routes_of_an_app_have_its_models(directory):
    """A program that prints is read, and its routes are valid."""
    (directory / "my_agent.py").write_text(PROGRAM)
    routes = await read_routes("my_agent:app", directory)
    spec = AgentPoolSpec.model_validate(AppPool.of("my_agent:app", directory).manifest(routes=routes)["spec"])
    assert spec.routes[0].kind_schemas[0].input["required"] == ["name"]
