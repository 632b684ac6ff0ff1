"""Registration of handlers: every useful shape, and a clear refusal of the rest."""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

import pytest

from agentpool_core.errors import HandlerError
from agentpool_core.queue.completions import Succeeded
from agentpool_worker import App, BlockingContext
from agentpool_worker.handlers.app import load
from tests.unit.worker.fakes import Bench, lease


async def result_of(app: App, kind: str, payload: Any) -> Any:
    """Return the completion of a job of this kind."""
    async with Bench(app) as bench:
        bench.submit(lease(kind, payload))
        (completion,) = await bench.settled(1)
        assert not hasattr(completion, "error"), completion
        return completion.result


async def test_async_handler_returns_its_result():
    """The return value of an async function is the job's result."""
    app = App()

    @app.handler("double")
    async def double(payload, ctx):
        return payload * 2

    assert await result_of(app, "double", 21) == 42


async def test_sync_handler_runs_in_a_thread_of_its_own():
    """A sync function runs outside of the event loop's thread."""
    import threading

    app = App()

    @app.handler("where")
    def where(payload, ctx):
        return threading.current_thread().name

    assert (await result_of(app, "where", None)).startswith("handler-")


async def test_handler_without_context_gets_the_payload_only():
    """A function with a single parameter is called with the payload."""
    app = App()

    @app.handler("echo")
    async def echo(payload):
        return payload

    assert await result_of(app, "echo", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("sort", ["async", "sync"])
async def test_generator_publishes_progress_and_its_last_value_is_the_result(sort: str):
    """Each value that a generator yields is progress, and the last value is the result."""
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


def test_a_function_may_serve_several_kinds():
    """A decorator with two kinds registers both."""
    app = App()
    app.handler("b", "a")(lambda payload, ctx: None)
    assert app.kinds == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "function", "message"),
    [
        ("two words", lambda payload, ctx: None, "not a kind of job"),
        ("k", lambda: None, "takes \\(payload, ctx\\) or \\(payload\\)"),
        ("k", lambda a, b, c: None, "takes \\(payload, ctx\\)"),
        ("k", 42, "a handler is a function"),
        ("k", dict, "a handler is a function"),
        ("k", object(), "a handler is a function"),
        ("k", lambda self, payload: None, "method without its object"),
        ("k", lambda payload, *, model: None, "takes \\(payload, ctx\\)"),
    ],
)
def test_bad_handler_is_refused_with_its_remedy(kind: str, function: Any, message: str):
    """An unusable kind or function is refused at the registration."""
    with pytest.raises(HandlerError, match=message):
        App().handler(kind)(function)


def test_second_handler_of_a_kind_is_refused():
    """Two handlers of the same kind are a mistake; the error names both."""
    app = App()
    app.handler("k")(lambda payload: None)
    with pytest.raises(HandlerError, match="already has the handler"):
        app.handler("k")(lambda payload: None)


def test_decorator_without_a_kind_is_refused():
    """A decorator without a kind fails at once."""
    with pytest.raises(HandlerError, match="takes the kinds of job"):
        App().handler(lambda payload: None)  # type: ignore[arg-type]


def test_load_finds_the_app_in_a_module(tmp_path, monkeypatch):
    """The module of `module:attribute` is imported, and the attribute is the app."""
    (tmp_path / "agents_of_this_test.py").write_text(
        "from agentpool_worker import App\nmine = App()\nmine.handler('k')(lambda payload: None)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load("agents_of_this_test:mine").kinds == ("k",)
    with pytest.raises(HandlerError, match="has no 'app'; it has the App mine"):
        load("agents_of_this_test")
    sys.modules.pop("agents_of_this_test")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_module_that_nobody_has", "needs the module 'a_module_that_nobody_has'"),
        ("1 / 0", "importing it raised ZeroDivisionError"),
        ("app = 3", "it is a int, not an agentpool_worker.App"),
        ("from agentpool_worker import App\napp = App()", "it has no handlers"),
    ],
)
def test_load_names_the_mistake_in_a_module(tmp_path, monkeypatch, source: str, message: str):
    """The error for an unusable module has the reason."""
    name = f"bad_agents_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerError, match=message):
        load(f"{name}:app")
    sys.modules.pop(name, None)


def test_load_of_an_unknown_module_names_it():
    """The error has the module's name and the searched directory."""
    with pytest.raises(HandlerError, match="there is no module 'nowhere_to_be_found'"):
        load("nowhere_to_be_found:app")


def timed(function):
    """A sync decorator, as in many programs, around any function."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def unnamed(function):
    """The same, without `functools.wraps`."""
    return lambda payload, ctx: function(payload, ctx)  # noqa: PLW0108  # the wrapper is the point


async def use_context(payload, ctx):
    """An async handler that uses its context."""
    await ctx.progress("on the way")
    await ctx.checkpoint({"step": 1})
    return [payload, ctx.job_id, ctx.state]


async def counted(payload, ctx):
    """An async generator."""
    for number in range(3):
        yield number


class Agent:
    """Methods of all sorts, and an object that is called."""

    def __init__(self, function=use_context) -> None:
        self.function = function

    async def __call__(self, payload, ctx):
        return await self.function(payload, ctx)

    async def method(self, payload, ctx):
        """A bound method."""
        return await self.function(payload, ctx)

    @staticmethod
    async def static(payload, ctx):
        """A method that needs no object."""
        return await use_context(payload, ctx)

    @classmethod
    async def of_class(cls, payload, ctx):
        """A method of the class."""
        return await use_context(payload, ctx)


class Promise:
    """An awaitable that is no coroutine."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "kept"


async def not_awaited(payload, ctx):
    """An async wrapper that forgot to await."""
    return use_context(payload, ctx)


def bridged(payload, ctx):
    """A wrapper that runs the coroutine in a separate event loop."""
    return asyncio.run(use_context(payload, ctx))


@pytest.mark.parametrize(
    "function",
    [
        *(
            timed(use_context),
            unnamed(use_context),
            unnamed(timed(use_context)),
            timed(timed(use_context)),
            not_awaited,
            bridged,
        ),
        *(Agent(), Agent().method, timed(Agent().method), Agent.static, Agent.of_class, staticmethod(use_context)),
        *(
            functools.partial(use_context),
            functools.partial(Agent()),
            timed(functools.partial(use_context)),
            timed(Agent()),
        ),
        functools.partial(lambda model, payload, ctx: use_context(payload, ctx), "m"),
    ],
    ids=range(17),
)
async def test_an_async_handler_runs_in_any_wrapper(function):
    """An awaitable return value is awaited, and its context works in the event loop and in a thread."""
    app = App()
    app.handler("use_context")(function)
    async with Bench(app) as bench:
        bench.submit(lease("use_context", "p"))
        (completion,) = await bench.settled(1)
    assert completion == Succeeded(job_id="job-1", token=1, result=["p", "job-1", {"step": 1}])
    assert bench.queue.saved == [("progress of job-1", "on the way"), ("job-1", {"step": 1})]


@pytest.mark.parametrize("function", [timed(counted), unnamed(counted), unnamed(lambda p, c: iter_of(3)), counted])
async def test_a_generator_is_read_in_any_wrapper(function):
    """Each value is progress and the last value is the result, also behind a wrapper that is no generator."""
    app = App()
    app.handler("count")(function)
    async with Bench(app) as bench:
        bench.submit(lease("count"))
        (completion,) = await bench.settled(1)
    assert completion.result == 2
    assert [value for _, value in bench.queue.saved] == [0, 1, 2]


def iter_of(count):
    """A generator."""
    yield from range(count)


async def test_any_awaitable_that_a_sync_handler_returns_is_awaited():
    """A future or a client library's promise is as good as a coroutine."""
    app = App()
    app.handler("promise")(lambda payload: Promise())
    assert await result_of(app, "promise", None) == "kept"


async def test_a_wrapped_async_handler_has_the_limits_of_its_attempt():
    """The timeout ends the awaitable of a wrapper, like an async handler."""
    ended = asyncio.Event()

    async def hang(payload, ctx):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    app = App()
    app.handler("hang")(unnamed(hang))
    async with Bench(app) as bench:
        bench.submit(lease("hang", timeout_ms=500))  # the wrapper has returned the awaitable long before
        (completion,) = await bench.settled(1)
    assert completion.error.startswith("timeout")
    assert ended.is_set()


def with_retries(payload, retries=3):
    """A sync handler with a default."""
    return retries


def with_ctx(payload, ctx=None):
    """A sync handler that requests its context by name."""
    return ctx.job_id


def with_context(payload, given: BlockingContext | None = None):
    """The same, asking by annotation."""
    return given.job_id


def with_more(payload, ctx, retries=3):
    """A default after the context."""
    return [ctx.job_id, retries]


@pytest.mark.parametrize(
    ("function", "result"), [(with_retries, 3), (with_ctx, "job-1"), (with_context, "job-1"), (with_more, ["job-1", 3])]
)
async def test_a_default_parameter_gets_the_context_only_on_request(function, result):
    """`retries=3` stays 3; `ctx=None` and an annotation request the context."""
    app = App()
    app.handler("k")(function)
    assert await result_of(app, "k", None) == result


def test_a_method_that_is_registered_inside_its_class_is_refused():
    """No object exists yet, so the method would get the payload as `self`; the error has the remedy."""
    app = App()
    with pytest.raises(HandlerError, match=r"register the bound method: app.handler\(…\)\(Service\(\).run\)"):

        class Service:
            @app.handler("k")
            async def run(self, payload):
                return payload
