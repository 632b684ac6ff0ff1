"""Names, labels and annotations: the syntax every object's metadata must keep."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.objects import Json, metadata
from agentpool_devcluster.api.registry import Resource

_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_MAX_NAME = 253  # characters of an object's name
_MAX_LABEL = 63  # characters of a label's name and value, and of names that are DNS labels
_MAX_ANNOTATIONS = 256 * 1024  # bytes of all annotations together
_SUBDOMAIN_HELP = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_HELP = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_HELP = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_HELP = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LABEL_NAMED = frozenset({("", "namespaces"), ("", "services")})  # resources with DNS labels as names
_FREELY_NAMED = frozenset({"rbac.authorization.k8s.io"})  # groups with path segments as names


def _invalid(field: str, value: object, why: str) -> Cause:
    return Cause(reason="FieldValueInvalid", message=f'Invalid value: "{value}": {why}', field=field)


def metadata_problems(resource: Resource, body: Json) -> Iterator[Cause]:
    """Yield the problems of an object's metadata."""
    found = metadata(body)
    name = found.get("name")
    if not name:
        yield Cause(
            reason="FieldValueRequired",
            message="Required value: name or generateName is required",
            field="metadata.name",
        )
    else:
        yield from _name_problems(resource, str(name))
    yield from label_problems(found.get("labels"), "metadata.labels")
    yield from _annotation_problems(found.get("annotations"))


def _name_problems(resource: Resource, name: str) -> Iterator[Cause]:
    if resource.group in _FREELY_NAMED:
        if name in (".", "..") or "/" in name or "%" in name:
            yield _invalid("metadata.name", name, "may not contain '/' or '%', nor be '.' or '..'")
    elif (resource.group, resource.plural) in _LABEL_NAMED:
        if len(name) > _MAX_LABEL:
            yield _invalid("metadata.name", name, f"must be no more than {_MAX_LABEL} characters")
        if not _LABEL.match(name):
            yield _invalid("metadata.name", name, _LABEL_HELP)
    elif len(name) > _MAX_NAME:
        yield _invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters")
    elif not _SUBDOMAIN.match(name):
        yield _invalid("metadata.name", name, _SUBDOMAIN_HELP)


def _qualified_problems(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        yield _invalid(field, key, f"prefix part {_SUBDOMAIN_HELP}")
    if not _QUALIFIED.match(name):
        yield _invalid(field, key, _QUALIFIED_HELP)
    elif len(name) > _MAX_LABEL:
        yield _invalid(field, key, f"name part must be no more than {_MAX_LABEL} characters")


def label_problems(labels: object, field: str) -> Iterator[Cause]:
    """Yield the problems of labels."""
    for key, value in labels.items() if isinstance(labels, dict) else ():
        yield from _qualified_problems(field, key)
        if not isinstance(value, str):
            yield _invalid(field, value, f"the value of {key} must be a string")
        elif len(value) > _MAX_LABEL:
            yield _invalid(field, value, f"must be no more than {_MAX_LABEL} characters")
        elif value and not _QUALIFIED.match(value):
            yield _invalid(field, value, _VALUE_HELP)


def _annotation_problems(annotations: object) -> Iterator[Cause]:
    size = 0
    for key, value in annotations.items() if isinstance(annotations, dict) else ():
        yield from _qualified_problems("metadata.annotations", key)
        if not isinstance(value, str):
            yield _invalid("metadata.annotations", value, f"the value of {key} must be a string")
            continue
        size += len(key) + len(value)
    if size > _MAX_ANNOTATIONS:
        yield Cause(
            reason="FieldValueTooLong",
            message=f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes",
            field="metadata.annotations",
        )
