"""The adapters of the OpenAI client and of the OpenAI Agents SDK, with the examples' model server and the test kit."""

from __future__ import annotations

import json

import httpx2
import pytest
from agents import Agent, ComputerTool, SQLiteSession, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call
from openai import AsyncOpenAI

from agentpool_worker import Permanent
from agentpool_worker.adapters import openai as client_adapter
from agentpool_worker.adapters import openai_agents as agents_adapter
from agentpool_worker.testing import JobUnderTest
from tests.fixtures.model_server import load_example

set_tracing_disabled(True)
STEPS = ["model", "tool search call-0", "model#2", "tool read call-1", "model#3"]
ANSWER = "An answer from 3 pages about queues and page 2."
EXAMPLES = [("openai-client", "support", "support"), ("openai-agents", "researcher", "research")]


@pytest.mark.parametrize(("folder", "module", "handler"), EXAMPLES)
@pytest.mark.parametrize("kills", [{}, {"kill_after": STEPS}, {"kill_during": STEPS}])
async def test_the_examples_survive_a_kill_at_every_step(model_url, folder, module, handler, kills):
    """Requests and tool calls are steps, the answer is streamed word by word, and kills change no result."""
    job = JobUnderTest(getattr(load_example(folder, module), handler), {"question": "Where?"})
    assert await job.run(**kills) == "succeeded", job.error
    assert job.result == ANSWER
    assert [step.name for step in job.steps] == STEPS
    assert job.runs == (len(STEPS) + 1 if kills else 1)
    requests = 6 if "kill_during" in kills else 3  # a request whose step was lost was paid for, too
    assert [(used.model, used.input_tokens, used.output_tokens) for used in job.usage] == [("gpt-5", 10, 5)] * requests
    assert "".join(job.output).strip().endswith(ANSWER)


def client(answer):
    """A client whose server is a function of the request's path and body."""

    def respond(request):
        body = answer(request.url.path, json.loads(request.content))
        if isinstance(body, dict):
            return httpx2.Response(200, json=body)
        events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in body)
        return httpx2.Response(200, text=events, headers={"content-type": "text/event-stream"})

    return AsyncOpenAI(api_key="none", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(respond)))


async def test_responses_and_embeddings_are_steps_too():
    """The stream of a response ends with the whole response; a server that cannot stream is asked for the whole."""
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    whole = {"id": "r", "object": "response", "created_at": 0, "model": "m", "output": [message], "status": "completed"}
    delta = {"type": "response.output_text.delta", "delta": "Hello", "item_id": "m", "output_index": 0}
    asked = []

    def answer(path, body):
        asked.append(path)
        if path.endswith("embeddings"):
            return {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
        return [delta, {"type": "response.completed", "response": whole}] if body.get("stream") else whole

    async def handler(payload, ctx):
        async with client(answer) as plain:
            first = await client_adapter.durable(plain, ctx).responses.create(model="m", input="hi")
            second = await client_adapter.durable(plain, ctx, stream=False).responses.create(model="m", input="hi")
            vectors = await client_adapter.durable(plain, ctx).embeddings.create(model="m", input="hi")
        return [first.output_text, second.output_text, vectors.data[0].embedding]

    job = JobUnderTest(handler)
    assert await job.run(kill_after=["model", "model#2", "model#3"]) == "succeeded", job.error
    assert job.result == ["Hello", "Hello", [0.5]]
    assert job.output == ["Hello"]
    assert len(asked) == 3


async def test_tools_of_a_message_run_at_once_and_mistakes_of_the_model_are_results():
    """Sync and async tools; an unknown tool and wrong arguments are text that the model reads."""
    wanted = {"double": '{"n": 2}', "name": '{"who": {"first": "Ada"}}', "missing": "{}", "wrong": "{}"}
    calls = [
        {"id": f"c-{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in wanted.items()
    ]
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": calls}}

    async def name(who):
        return who

    tools = {"double": lambda n: n * 2, "name": name, "wrong": lambda n: n}

    async def handler(payload, ctx):
        async with client(
            lambda *_: {"id": "c", "object": "chat.completion", "created": 0, "choices": [choice]}
        ) as plain:
            durable = client_adapter.durable(plain, ctx, stream=False)
            reply = await durable.chat.completions.create(model="m", messages=[])
            return await durable.run_tools(reply.choices[0].message, tools)

    job = JobUnderTest(handler)
    assert await job.run(kill_after=["tool double c-double"]) == "succeeded", job.error
    assert [(each["tool_call_id"], each["content"]) for each in job.result] == [
        ("c-double", "4"),
        ("c-name", '{"first": "Ada"}'),
        ("c-missing", "there is no tool 'missing'"),
        ("c-wrong", "the arguments do not fit: missing a required argument: 'n'"),
    ]


async def test_a_stream_of_ones_own_is_refused():
    """The text goes to the job's output; the error says so."""

    async def handler(payload, ctx):
        await client_adapter.durable(client(dict), ctx).responses.create(model="m", input="x", stream=True)

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert "leave the argument out" in job.error


async def test_agents_hand_off_in_circles_and_serve_as_tools():
    """The agents behind a handoff have durable steps; an agent that is a tool is one step."""
    ran = []

    @function_tool
    def stamp(text: str) -> str:
        """Stamp a text."""
        ran.append(text)
        return f"[{text}]"

    helper = Agent(name="helper", model=ScriptedModel([[assistant_message("helped")]]))
    back = function_call("transfer_to_front", "{}", call_id="h2")
    desk = Agent(
        name="desk", model=ScriptedModel([[function_call("stamp", {"text": "a"}, call_id="s1")], [back]]), tools=[stamp]
    )
    front = Agent(
        name="front",
        model=ScriptedModel([
            [function_call("transfer_to_desk", "{}", call_id="h1")],
            [function_call("ask", {"input": "x"}, call_id="t1")],
            [assistant_message("done")],
        ]),
        tools=[helper.as_tool("ask", "Ask the helper.")],
        handoffs=[desk],
    )  # fmt: skip
    desk.handoffs = [front]

    async def handler(payload, ctx):
        result = await agents_adapter.durable(front, ctx).run("go")
        return [result.final_output, result.last_agent.name]

    steps = ["model", "model#2", "tool stamp s1", "model#3", "model#4", "tool ask t1", "model#5"]
    job = JobUnderTest(handler)
    assert await job.run(kill_after=steps) == "succeeded", job.error
    assert job.result == ["done", "front"]
    assert [step.name for step in job.steps] == steps
    assert ran == ["a"]


@pytest.mark.parametrize(
    ("parts", "keywords", "complaint"),
    [
        ({"tools": [ComputerTool(computer=None)]}, {}, "use a function tool"),
        ({"mcp_servers": [object()]}, {}, "mcp_servers cannot be durable"),
        ({}, {"session": SQLiteSession("s")}, "pass result.to_input_list()"),
    ],
)
async def test_parts_that_would_run_again_are_refused(parts, keywords, complaint):
    """The error names the part and the remedy, before anything has run."""
    agent = Agent(name="front", model=ScriptedModel([]), **parts)

    async def handler(payload, ctx):
        await agents_adapter.durable(agent, ctx).run("go", **keywords)

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert complaint in job.error
    assert job.attempt == 1
    if session := keywords.get("session"):
        session.close()


async def test_a_tool_decides_on_the_whole_job():
    """`Permanent` of a tool ends the job, although the SDK wraps errors of tools."""

    @function_tool(failure_error_function=None)
    def stop() -> str:
        """Stop."""
        raise Permanent("no such order")

    agent = Agent(name="front", model=ScriptedModel([[function_call("stop", "{}", call_id="s1")]]), tools=[stop])

    async def handler(payload, ctx):
        await agents_adapter.durable(agent, ctx).run("go")

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert "no such order" in job.error
    assert job.attempt == 1
