"""List objects: selectors, chunks, and resourceVersion semantics. Watching is in `http.watching`."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from agentpool_devcluster.api.errors import Cause, StatusError, bad_request, expired
from agentpool_devcluster.api.operations.cluster import Cluster
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.selectors import Selector
from agentpool_devcluster.api.store import Collection, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """Which part of which state of a collection is wanted."""

    selector: Selector  # which objects
    limit: int = 0  # objects in an answer; 0: all
    token: str = ""  # where an earlier answer stopped; empty: from the start
    version: str = ""  # resourceVersion asked for; empty: the newest
    match: str = ""  # Exact, NotOlderThan; empty: not older


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of objects of one state of a collection."""

    items: list[Stored]  # the objects
    version: int  # resourceVersion of the state
    token: str = ""  # where the next chunk starts; empty: there is none
    remaining: int | None = None  # objects after this chunk; None: not known or none


def list_objects(cluster: Cluster, resource: Resource, namespace: str | None, options: ListOptions) -> Listing:
    """Return the selected objects; namespace None means all. Raises 400, 410 or 504 refusals."""
    collection = cluster.store.collection(resource.collection)
    version, start, found = _state(cluster, collection, namespace, options)
    chosen: list[Stored] = []
    last = ""
    for position, (space, name, stored) in enumerate(found):
        place = f"{space}/{name}"
        if start and place <= start:
            continue
        if not options.selector.matches(stored.body):
            continue
        if options.limit and len(chosen) == options.limit:
            remaining = len(found) - position if options.selector.selects_all else None
            return Listing(items=chosen, version=version, token=_token(version, last), remaining=remaining)
        chosen.append(stored)
        last = place
    return Listing(items=chosen, version=version)


def _state(
    cluster: Cluster, collection: Collection, namespace: str | None, options: ListOptions
) -> tuple[int, str, list[tuple[str, str, Stored]]]:
    """Return the resourceVersion, the place to start after, and the objects of the wanted state."""
    current = cluster.store.version
    if options.token:
        version, start = _read_token(options.token)
        past = collection.items_at(version, namespace)
        if past is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start "
                "a new list without the continue parameter."
            )
        return version, start, past
    wanted = parse_version(options.version)
    if wanted > current:
        raise _from_the_future(wanted, current)
    if options.match == "Exact":
        past = collection.items_at(wanted, namespace)
        if past is None:
            raise expired(f"The resourceVersion for the provided list is too old: {wanted}")
        return wanted, "", past
    only = options.selector.name
    if only is not None and namespace is not None:
        one = collection.get(namespace, only)
        return current, "", [(namespace, only, one)] if one else []
    return current, "", collection.items(namespace)


def parse_version(text: str) -> int:
    """Return a resourceVersion as a number, 0 for none. Raises a 400 refusal."""
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _from_the_future(wanted: int, current: int) -> StatusError:
    cause = Cause(reason="ResourceVersionTooLarge", message="Too large resource version")
    message = f"Too large resource version: {wanted}, current: {current}"
    return StatusError(504, "Timeout", message, causes=[cause], retry_after_s=1)


def _token(version: int, start: str) -> str:
    return base64.urlsafe_b64encode(
        json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}).encode()
    ).decode()


def _read_token(text: str) -> tuple[int, str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text))
        return int(found["rv"]), str(found["start"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise bad_request(f"continue key is not valid: {text!r}") from None
