"""Convert a JobRequest to the submit script's arguments: checked, named, with parents first.

Everything that can be refused without Redis is refused here, so a refused call has written nothing.
`scripts/submit.lua` checks the rest, which only Redis knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import DependencyCycleError, InvalidJobError
from agentpool_core.jobs import (
    KIND_FORM,
    KIND_PATTERN,
    MOST_TAGS,
    SUBJECT_FORM,
    SUBJECT_PATTERN,
    TAG_FORM,
    TAG_PATTERN,
    AfterCondition,
    JobId,
    OnConflict,
)
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.keys import digest_of
from agentpool_core.queue.usage import MOST_TOKENS

if TYPE_CHECKING:
    from agentpool_core.jobs import JobRequest, StartedBy

LONGEST_WAIT_MS = 366 * 86_400_000  # delay, ttl and timeout
MOST_ATTEMPTS = 1_000
MOST_PARENTS = 1_000
MOST_RUNNING = 1_000_000  # children of a group at once
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
KEY_PATTERN = r"[!-~][ -~]{0,254}"  # printable ASCII
_KIND = re.compile(KIND_PATTERN)
_ID = re.compile(ID_PATTERN)
_KEY = re.compile(KEY_PATTERN)
_SUBJECT = re.compile(SUBJECT_PATTERN)
_TAG = re.compile(TAG_PATTERN)
_CONDITION_FLAGS = {AfterCondition.SUCCEEDED: "", AfterCondition.FINISHED: "u", AfterCondition.FAILED: "uf"}
_kinds_seen: set[str] = set()  # kinds that have passed; programs use few
_KINDS_SEEN_MAX = 1_000


def new_id() -> JobId:
    """Return a job id: milliseconds (ids sort by time) and 64 random bits, in hexadecimal."""
    return JobId(f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}")


@contextlib.contextmanager
def at_index(index: int) -> Iterator[None]:
    """Give an InvalidJobError the place of the refused job among many."""
    try:
        yield
    except InvalidJobError as error:
        error.index = index
        raise


def arguments(request: JobRequest, job_id: JobId) -> list[str]:
    """Return the script's four arguments for a job. Raises InvalidJobError naming the unusable field.

    `with_schema` adds the schema that the payload fits.
    """
    kind = request.kind
    if kind not in _kinds_seen:
        _check_text("kind", kind, _KIND, KIND_FORM)
        if len(_kinds_seen) < _KINDS_SEEN_MAX:
            _kinds_seen.add(kind)
    if request.max_attempts is not None:
        _check_number("max_attempts", request.max_attempts, least=1, most=MOST_ATTEMPTS)
    if request.timeout_ms is not None:
        _check_number("timeout_ms", request.timeout_ms, least=1, most=LONGEST_WAIT_MS)
    flags = ("p" if request.preemptible else "") + _CONDITION_FLAGS[request.after_condition]
    attempts = "" if request.max_attempts is None else request.max_attempts
    timeout = "" if request.timeout_ms is None else request.timeout_ms
    payload = encode("payload", request.payload)
    extras = _extras(request, payload)
    return [
        job_id,
        f"{kind}|{request.priority.value}|{attempts}|{timeout}|{flags}",
        payload,
        encode("extras", extras) if extras else "",
    ]


def with_schema(args: Sequence[str], digest: str) -> list[str]:
    """Return a job's arguments with the digest of the schema that its payload fits; "" for none."""
    job_id, spec, payload, extras = args
    if not digest:
        return [*args]
    return [job_id, spec, payload, encode("extras", (json.loads(extras) if extras else {}) | {"schema": digest})]


def _extras(request: JobRequest, payload: str) -> dict[str, Any]:
    """Return the rare attributes of a job."""
    extras = {**_times(request), **_labels(request), **_identity(request)}
    if request.started_by is not None:
        extras["child"] = _child(request.started_by)
    if request.after:
        _check_parents(request)
        extras["after"] = list(dict.fromkeys(request.after))
    if request.trace:
        extras["trace"] = _trace(request.trace)
    if "named" in extras or "key" in extras:
        extras["digest"] = _digest(request, payload)
    return extras


def _times(request: JobRequest) -> dict[str, Any]:
    """Return the times of a job."""
    times = {}
    if request.delay_ms:
        _check_number("delay_ms", request.delay_ms, least=0, most=LONGEST_WAIT_MS)
        times["delay"] = request.delay_ms
    if request.ttl_ms is not None:
        _check_number("ttl_ms", request.ttl_ms, least=1, most=LONGEST_WAIT_MS)
        times["ttl"] = request.ttl_ms
    return times


def _labels(request: JobRequest) -> dict[str, Any]:
    """Return the attributes by which jobs share limits, or are found."""
    labels: dict[str, Any] = {}
    for field in ("limit_key", "tenant"):
        subject = getattr(request, field)
        if subject is not None:
            _check_text(field, subject, _SUBJECT, SUBJECT_FORM)
            labels[field] = subject
    if request.tokens is not None:
        _check_number("tokens", request.tokens, least=0, most=MOST_TOKENS)
        labels["tokens"] = request.tokens
    if request.tags:
        check_tags("tags", request.tags)
        labels["tags"] = " ".join(dict.fromkeys(request.tags))
    return labels


def _child(starter: StartedBy) -> dict[str, Any]:
    """Return the attributes of a job that a running job starts."""
    child: dict[str, Any] = {"by": starter.job_id, "tenant": starter.inherit_tenant, "tags": starter.inherit_tags}
    if (member := starter.member) is not None:
        child |= {"group": member.group, "number": member.number, "size": member.size, "fast": member.fail_fast}
        if member.max_running is not None:
            _check_number("max_running", member.max_running, least=1, most=MOST_RUNNING)
            child["most"] = member.max_running
    return child


def _identity(request: JobRequest) -> dict[str, Any]:
    """Return the attributes by which a job is known when it is submitted again."""
    identity: dict[str, Any] = {}
    if request.job_id is not None:
        _check_text("job_id", request.job_id, _ID)
        identity["named"] = 1
    if request.idempotency_key is not None:
        _check_text("idempotency_key", request.idempotency_key, _KEY)
        identity["key"] = digest_of(request.idempotency_key)
        identity["idem"] = request.idempotency_key
    if request.on_conflict is not OnConflict.REFUSE:
        identity["conflict"] = _conflict(request)
    return identity


def _conflict(request: JobRequest) -> str:
    if request.idempotency_key is None:
        raise InvalidJobError(
            field="on_conflict",
            value=request.on_conflict.value,
            problem="the job has no idempotency_key, so it conflicts with no other job",
            remedy="give an idempotency_key, or leave on_conflict out",
        )
    return request.on_conflict.value


def _trace(headers: Mapping[Any, Any]) -> str:
    for name, text in headers.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidJobError(
                field=f"trace.{name}", value=text, problem="not a text", remedy="give W3C trace headers, as texts"
            )
    return encode("trace", dict(headers))


def _digest(request: JobRequest, payload: str) -> str:
    """Equal for equal bodies, whatever the order of an object's keys."""
    body = [request.kind, request.priority.value, sorted(request.after), json.loads(payload)]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check_parents(request: JobRequest) -> None:
    if len(request.after) > MOST_PARENTS:
        raise InvalidJobError(
            field="after",
            value=f"{len(request.after)} jobs",
            problem=f"more than {MOST_PARENTS}",
            remedy="gather them with jobs in between",
        )
    for index, parent in enumerate(request.after):
        _check_text(f"after[{index}]", parent, _ID)
        if parent == request.job_id:
            raise _cycle([parent, parent])


def is_subject(text: str) -> bool:
    """Whether a limit key or tenant has such a form."""
    return _SUBJECT.fullmatch(text) is not None


def check_tags(field: str, tags: Sequence[str]) -> None:
    """Raise InvalidJobError for too many tags, or for a tag of a different form."""
    if len(tags) > MOST_TAGS:
        raise InvalidJobError(
            field=field, value=f"{len(tags)} tags", problem=f"more than {MOST_TAGS}", remedy="leave some out"
        )
    for index, tag in enumerate(tags):
        _check_text(f"{field}[{index}]", tag, _TAG, TAG_FORM)


def _check_text(field: str, value: object, form: re.Pattern[str], words: str | None = None) -> None:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise InvalidJobError(
            field=field,
            value=value,
            problem="not a name that the queue takes",
            remedy=f"use {words or f'text of the form {form.pattern}'}",
        )


def _check_number(field: str, value: object, *, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidJobError(
            field=field,
            value=value,
            problem=f"not a whole number from {least} to {most}",
            remedy="correct it, or leave it out for the pool's setting",
        )


def parents_first(requests: Sequence[JobRequest]) -> Sequence[int]:
    """Return the order, by index, in which each job comes after its parents in the same call.

    Raises DependencyCycleError for a cycle.
    """
    if not any(request.after for request in requests):
        return range(len(requests))
    index_of = {request.job_id: index for index, request in enumerate(requests) if request.job_id is not None}
    graph = {
        index: [index_of[parent] for parent in request.after if parent in index_of]
        for index, request in enumerate(requests)
    }
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise _cycle([str(requests[index].job_id) for index in error.args[1]]) from error


def _cycle(ids: list[str]) -> DependencyCycleError:
    return DependencyCycleError(
        field="after",
        value=" -> ".join(ids),
        problem="the jobs wait for each other, so none could start",
        remedy="take one of these out of `after`",
    )
