"""Kubernetes objects as plain JSON values: copying, metadata, time stamps, names, durations.

Objects in the store are shared and never changed in place: take a `clone` for changes.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]  # a JSON object; Kubernetes objects are open-ended

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words
_SUFFIX_LENGTH = 5


def clone(value: Any) -> Any:
    """Copy a JSON value so deep that changing the copy leaves the original alone."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def metadata(body: Json) -> Json:
    """Return the object's metadata; an object without any reads as having none set."""
    found = body.get("metadata")
    return found if isinstance(found, dict) else {}


def name_of(body: Json) -> str:
    """Return metadata.name, or the empty string."""
    return str(metadata(body).get("name") or "")


def namespace_of(body: Json) -> str:
    """Return metadata.namespace, or the empty string for cluster-scoped objects."""
    return str(metadata(body).get("namespace") or "")


def uid_of(body: Json) -> str:
    """Return metadata.uid, or the empty string."""
    return str(metadata(body).get("uid") or "")


def labels_of(body: Json) -> dict[str, str]:
    """Return metadata.labels, empty when there are none."""
    found = metadata(body).get("labels")
    return found if isinstance(found, dict) else {}


def owners_of(body: Json) -> list[Json]:
    """Return metadata.ownerReferences, empty when there are none."""
    found = metadata(body).get("ownerReferences")
    return [owner for owner in found if isinstance(owner, dict)] if isinstance(found, list) else []


def is_terminating(body: Json) -> bool:
    """Return whether deletion of the object has begun."""
    return bool(metadata(body).get("deletionTimestamp"))


def dig(body: Any, *path: str) -> Any:
    """Follow keys into nested objects; None where any step is missing."""
    for key in path:
        if not isinstance(body, dict):
            return None
        body = body.get(key)
    return body


def generated_suffix() -> str:
    """Return the random end of a name made from generateName."""
    return "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))


def new_uid() -> str:
    """Return a fresh metadata.uid."""
    return str(uuid.uuid4())


def timestamp(when: datetime | None = None) -> str:
    """Return the moment (now by default) in Kubernetes form: UTC, whole seconds."""
    return (when or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: Any) -> datetime | None:
    """Read a Kubernetes time stamp; None if absent or malformed."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
