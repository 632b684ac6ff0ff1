"""A server with the chat interface of OpenAI, and a small function as model: examples run without a network and a key.

    python model_server.py agentpool worker support:app

serves while the command runs, which finds the address in OPENAI_BASE_URL. The model asks for each offered tool once, in
order, and then writes one sentence with the tools' results.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = {"string": "queues", "integer": 2}  # arguments of the tools by type


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the next message of the model."""
    facts = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    tools = [tool["function"] for tool in request.get("tools") or ()]
    if len(facts) == len(tools):
        return {"role": "assistant", "content": f"An answer from {' and '.join(facts)}."}
    tool = tools[len(facts)]
    arguments = {name: VALUES[field["type"]] for name, field in tool["parameters"]["properties"].items()}
    call = {"name": tool["name"], "arguments": json.dumps(arguments)}
    return {"role": "assistant", "tool_calls": [{"id": f"call-{len(facts)}", "type": "function", "function": call}]}


def words(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a message as parts of a stream: text comes word by word."""
    if "content" in message:
        return [{"role": "assistant", "content": f"{word} "} for word in message["content"].split()]
    return [message | {"tool_calls": [{"index": 0} | call for call in message["tool_calls"]]}]


class Model(BaseHTTPRequestHandler):
    """The HTTP side: `POST /v1/chat/completions`, whole or as a stream."""

    def do_POST(self) -> None:
        """Answer a request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = answer(request)
        completion = {"id": "chatcmpl-1", "created": 0, "model": request["model"]}
        choice = {"index": 0, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.send_response(200)
        if not request.get("stream"):
            self._send_whole(
                completion | {"object": "chat.completion", "choices": [choice | {"message": message}], "usage": usage}
            )
            return
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        chunk = completion | {"object": "chat.completion.chunk"}
        for delta in words(message):
            self._send_event(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._send_event(chunk | {"choices": [choice | {"delta": {}}]})
        self._send_event(chunk | {"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send_whole(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_event(self, body: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server that outlives clients killed in the middle of a request."""

    def handle_error(self, *_arguments: Any) -> None:
        """Leave it: the client is gone."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve in a thread; yield the value of OPENAI_BASE_URL."""
    with Server(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


def main(command: list[str]) -> int:
    """Run a command beside the server; return its exit code."""
    with serving() as url:
        process = subprocess.Popen(command, env={**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"})
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
