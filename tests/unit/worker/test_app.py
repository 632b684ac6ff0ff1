"""Registration of handlers: every useful shape, and a clear refusal of the rest."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from agentpool.errors import HandlerError
from agentpool_worker import App
from agentpool_worker.app import load
from tests.unit.worker.fakes import Bench, lease


async def result_of(app: App, kind: str, payload: Any) -> Any:
    """What one job of this kind ends with."""
    async with Bench(app) as bench:
        bench.submit(lease(kind, payload))
        (completion,) = await bench.settled(1)
        assert not hasattr(completion, "error"), completion
        return completion.result


async def test_async_handler_returns_its_result():
    """An async function's return value is the job's result."""
    app = App()

    @app.handler("double")
    async def double(payload, ctx):
        return payload * 2

    assert await result_of(app, "double", 21) == 42


async def test_sync_handler_runs_in_a_thread_of_its_own():
    """A sync function runs outside the event loop's thread."""
    import threading

    app = App()

    @app.handler("where")
    def where(payload, ctx):
        return threading.current_thread().name

    assert (await result_of(app, "where", None)).startswith("handler-")


async def test_handler_without_context_gets_the_payload_only():
    """A function of one parameter is called with the payload."""
    app = App()

    @app.handler("echo")
    async def echo(payload):
        return payload

    assert await result_of(app, "echo", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_generator_publishes_progress_and_its_last_value_is_the_result(sort: str):
    """Each value that a generator yields is progress, and the last one is the result."""
    app = App()
    if sort == "async":

        @app.handler("count")
        async def count_async(payload, ctx):
            for number in range(payload):
                yield number

    else:

        @app.handler("count")
        def count_sync(payload, ctx):
            yield from range(payload)

    async with Bench(app) as bench:
        bench.submit(lease("count", 3))
        (completion,) = await bench.settled(1)
    assert completion.result == 2
    assert [value for _, value in bench.queue.saved] == [0, 1, 2]


async def test_sync_handler_checkpoints_without_awaiting():
    """A sync handler's context saves state by a plain call."""
    app = App()

    @app.handler("save")
    def save(payload, ctx):
        ctx.checkpoint({"step": 1})
        return ctx.state

    assert await result_of(app, "save", None) == {"step": 1}


def test_one_function_may_serve_several_kinds():
    """A decorator with two kinds registers both."""
    app = App()
    app.handler("b", "a")(lambda payload, ctx: None)
    assert app.kinds == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "function", "told"),
    [
        ("two words", lambda payload, ctx: None, "not a kind of job"),
        ("k", lambda: None, "takes \\(payload, ctx\\) or \\(payload\\)"),
        ("k", lambda a, b, c: None, "takes \\(payload, ctx\\)"),
        ("k", 42, "a handler is a function"),
        ("k", dict, "a handler is a function"),
    ],
)
def test_bad_handler_is_refused_with_its_remedy(kind: str, function: Any, told: str):
    """A kind or function that cannot work is refused when it is registered."""
    with pytest.raises(HandlerError, match=told):
        App().handler(kind)(function)


def test_second_handler_of_a_kind_is_refused():
    """Two handlers of one kind are a mistake, which names both."""
    app = App()
    app.handler("k")(lambda payload: None)
    with pytest.raises(HandlerError, match="already has the handler"):
        app.handler("k")(lambda payload: None)


def test_decorator_without_a_kind_is_refused():
    """Forgetting the kind is told at once."""
    with pytest.raises(HandlerError, match="takes the kinds of job"):
        App().handler(lambda payload: None)  # type: ignore[arg-type]


def test_load_finds_the_app_in_a_module(tmp_path, monkeypatch):
    """`module:attribute` is imported and returned."""
    (tmp_path / "agents_of_this_test.py").write_text(
        "from agentpool_worker import App\nmine = App()\nmine.handler('k')(lambda payload: None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load("agents_of_this_test:mine").kinds == ("k",)
    with pytest.raises(HandlerError, match="has no 'app'; it has the App mine"):
        load("agents_of_this_test")
    sys.modules.pop("agents_of_this_test")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import a_module_that_nobody_has", "needs the module 'a_module_that_nobody_has'"),
        ("1 / 0", "importing it raised ZeroDivisionError"),
        ("app = 3", "it is a int, not an agentpool_worker.App"),
        ("from agentpool_worker import App\napp = App()", "it has no handlers"),
    ],
)
def test_load_says_what_is_wrong_with_a_module(tmp_path, monkeypatch, source: str, told: str):
    """A module that cannot serve is refused with the reason."""
    name = f"bad_agents_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerError, match=told):
        load(f"{name}:app")
    sys.modules.pop(name, None)


def test_load_of_an_unknown_module_names_it():
    """A module that is nowhere is told with the place to look."""
    with pytest.raises(HandlerError, match="there is no module 'nowhere_to_be_found'"):
        load("nowhere_to_be_found:app")
