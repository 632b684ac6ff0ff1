"""The protocol of a watch: its query, its lines, the changes in them.

The watch of the `kubernetes` package needs a generated API function and its types, and breaks at a line longer than its
buffer, which an object of the API may exceed. `client` sends the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agentpool_core.kube import deep_json
from agentpool_core.kube.errors import ClusterRefusalError, ExpiredError, refusal

WATCH_SECONDS = 290  # the server closes a watch after this, below common proxies' 300 s
SILENCE_SECONDS = 310.0  # without a byte after which a watch counts as dead
UNNAMED = 400  # HTTP status of an error event without a code
Json = dict[str, Any]


def watch_query(since: str) -> dict[str, str]:
    """Return the query of a watch after a resourceVersion."""
    return {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": since,
        "timeoutSeconds": str(WATCH_SECONDS),
    }


async def lines(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines of any length; an unfinished line at the end is dropped."""
    begun: list[bytes] = []
    async for data in content:
        first, *others = data.split(b"\n")
        begun.append(first)
        for line in others:
            yield b"".join(begun)
            begun = [line]


def change(path: str, line: bytes) -> tuple[str, Json]:
    """Return the type and the object of a line. Raises ClusterRefusalError for an error event, else ValueError."""
    event = deep_json.loads(line)
    try:
        type_, found = event["type"], event["object"]
    except (TypeError, LookupError) as error:
        raise ValueError("a line is no event") from error
    if type_ == "ERROR":
        raise _error(path, found)
    return type_, found


def _error(path: str, status: Json) -> ClusterRefusalError:
    code = int(status.get("code") or UNNAMED)
    message = str(status.get("message", "the watch failed"))
    if status.get("reason") == "Expired":
        return ExpiredError(request=f"watch {path}", status=code, message=message)
    return refusal(request=f"watch {path}", status=code, message=message, retry_after_s=None)
