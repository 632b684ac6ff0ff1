"""The resource API: each verb and subresource, from the request to the answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from aiohttp import web

from agentpool_devcluster.api.access.reviews import is_review, request_token, review
from agentpool_devcluster.api.access.tokens import Tokens
from agentpool_devcluster.api.errors import bad_request, method_not_allowed, not_implemented
from agentpool_devcluster.api.http.answers import answer, success
from agentpool_devcluster.api.http.paths import is_true
from agentpool_devcluster.api.http.rendering import list_text, object_text
from agentpool_devcluster.api.http.requests import ApiRequest
from agentpool_devcluster.api.http.watching import WatchOptions
from agentpool_devcluster.api.objects import Json, name_of, namespace_of, uid_of
from agentpool_devcluster.api.operations.cluster import Written
from agentpool_devcluster.api.operations.deletion import Deleted, delete, read_options
from agentpool_devcluster.api.operations.patches import patch_object
from agentpool_devcluster.api.operations.pods import bind, evict
from agentpool_devcluster.api.operations.reads import ListOptions, list_objects, parse_version
from agentpool_devcluster.api.operations.scaling import read_scale, scale_of, write_scale
from agentpool_devcluster.api.operations.versions import shown_as
from agentpool_devcluster.api.operations.writes import create, update
from agentpool_devcluster.api.selectors import Selector
from agentpool_devcluster.api.selectors import parse as parse_selector

_CREATED = 201
_OK = 200
_WATCH_SECONDS = (1800.0, 3600.0)  # duration of a watch without a timeout
Handler = Callable[[ApiRequest], Awaitable[web.Response]]


def _warnings(request: ApiRequest, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    deprecation = request.resource.deprecation
    return (deprecation, *more) if deprecation else more


def _written(request: ApiRequest, written: Written) -> web.Response:
    form = request.form("Table", "PartialObjectMetadata")
    text = object_text(request.resource, written.stored, form, request.include())
    code = _CREATED if written.created else _OK
    return answer(text, code=code, form=form, warnings=_warnings(request, written.warnings))


async def get_object(request: ApiRequest) -> web.Response:
    """Answer a get."""
    form = request.form("Table", "PartialObjectMetadata")
    stored = request.cluster.read(request.resource, request.namespace, request.target.name)
    text = object_text(request.resource, stored, form, request.include())
    return answer(text, form=form, warnings=_warnings(request))


async def list_collection(request: ApiRequest) -> web.Response:
    """Answer a list."""
    form = request.form("Table", "PartialObjectMetadataList")
    limit = request.query("limit")
    if limit and not limit.isdigit():
        raise bad_request(f"limit must be a number of objects, got {limit!r}")
    options = ListOptions(
        selector=request.selector(),
        limit=int(limit or 0),
        token=request.query("continue"),
        version=request.query("resourceVersion"),
        match=request.query("resourceVersionMatch"),
    )
    listing = list_objects(request.cluster, request.resource, request.target.namespace, options)
    text = list_text(request.resource, listing, form, request.include())
    return answer(text, form=form, warnings=_warnings(request))


def watch_options(request: ApiRequest) -> WatchOptions:
    """Return the options of a watch request."""
    timeout = request.query("timeoutSeconds")
    if timeout and not timeout.isdigit():
        raise bad_request(f"timeoutSeconds must be a number of seconds, got {timeout!r}")
    initial = request.query("sendInitialEvents")
    if initial and request.query("resourceVersionMatch") != "NotOlderThan":
        raise bad_request(
            "ListOptions.meta.k8s.io is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires "
            "setting resourceVersionMatch to NotOlderThan"
        )
    return WatchOptions(
        resource=request.resource,
        namespace=request.target.namespace,
        selector=_watch_selector(request),
        version=parse_version(request.query("resourceVersion")),
        bookmarks=is_true(request.query("allowWatchBookmarks")),
        initial_events=is_true(initial) if initial else None,
        timeout_s=float(timeout) if timeout and timeout != "0" else random.uniform(*_WATCH_SECONDS),  # noqa: S311
        form=request.form("Table", "PartialObjectMetadata"),
        include=request.include(),
    )


def _watch_selector(request: ApiRequest) -> Selector:
    if not request.target.name:
        return request.selector()
    return parse_selector(request.resource, request.query("labelSelector"), f"metadata.name={request.target.name}")


async def create_object(request: ApiRequest) -> web.Response:
    """Answer a create."""
    body = await request.body()
    if body is None:
        raise bad_request(f"expected a {request.resource.kind} object, the body is empty")
    options = await request.options()
    return _written(request, create(request.cluster, request.resource, request.namespace, body, options=options))


async def update_object(request: ApiRequest) -> web.Response:
    """Replace an object, or only the status."""
    body = await request.body()
    options = await request.options(subresource=_door(request))
    name = request.target.name
    return _written(
        request, update(request.cluster, request.resource, request.namespace, name, body=body, options=options)
    )


async def patch(request: ApiRequest) -> web.Response:
    """Patch an object, or only the status."""
    kind, patch_body = request.patch_type(), await request.body()
    options = await request.options(subresource=_door(request))
    written = patch_object(
        request.cluster,
        request.resource,
        request.namespace,
        request.target.name,
        patch=patch_body,
        kind=kind,
        options=options,
    )
    return _written(request, written)


def _door(request: ApiRequest) -> str:
    return request.target.subresource


async def delete_object(request: ApiRequest) -> web.Response:
    """Answer a delete."""
    options = read_options(await request.body(), dict(request.http.query), dry_run=request.dry_run())
    done = delete(request.cluster, request.resource, request.namespace, request.target.name, options)
    return _deleted(request, done)


def _deleted(request: ApiRequest, done: Deleted) -> web.Response:
    is_pod = (request.resource.group, request.resource.plural) == ("", "pods")
    if not done.gone or is_pod:
        text = object_text(request.resource, done.stored, request.form(), "Metadata")
        return answer(text, form=request.form(), warnings=_warnings(request))
    body = done.stored.body
    details: Json = {"name": name_of(body), "kind": request.resource.plural, "uid": uid_of(body)}
    if request.resource.group:
        details["group"] = request.resource.group
    return answer(success(details), form=request.form(), warnings=_warnings(request))


async def delete_collection(request: ApiRequest) -> web.Response:
    """Delete every selected object and answer with the list of them."""
    options = read_options(await request.body(), dict(request.http.query), dry_run=request.dry_run())
    listing = list_objects(
        request.cluster, request.resource, request.target.namespace, ListOptions(selector=request.selector())
    )
    for stored in listing.items:
        delete(request.cluster, request.resource, namespace_of(stored.body), name_of(stored.body), options)
    return answer(list_text(request.resource, listing, request.form(), "Metadata"), form=request.form())


async def scale(request: ApiRequest) -> web.Response:
    """Answer a request to the scale subresource."""
    resource, name = request.resource, request.target.name
    if request.verb == "get":
        return answer(read_scale(request.cluster, resource, request.namespace, name), form=request.form())
    kind = request.patch_type() if request.verb == "patch" else None
    if request.verb not in ("patch", "update"):
        raise method_not_allowed(resource.subject(name), request.verb)
    body = await request.body()
    options = await request.options(subresource="scale")
    written = write_scale(request.cluster, resource, request.namespace, name, body=body, options=options, kind=kind)
    return answer(scale_of(resource, shown_as(resource, written.stored.body)), form=request.form())


async def binding(request: ApiRequest) -> web.Response:
    """Answer a request to bind a pod to a node."""
    body = await request.body()
    options = await request.options(subresource="binding")
    bind(request.cluster, request.resource, request.namespace, request.target.name, body=body, options=options)
    return answer(_success_status(), code=_CREATED)


def _success_status() -> Json:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": _CREATED}


async def eviction(request: ApiRequest) -> web.Response:
    """Answer a request to evict a pod."""
    body = await request.body()
    wanted = body.get("deleteOptions") if isinstance(body, dict) else None
    options = read_options(wanted, {}, dry_run=request.dry_run())
    evict(request.cluster, request.resource, request.namespace, request.target.name, options)
    return answer(_success_status(), code=_CREATED)


def handler_for(request: ApiRequest, tokens: Tokens) -> Handler:
    """Return the handler of a request. Raises 405 or 501 refusals for unsupported requests."""
    resource, sub = request.resource, request.target.subresource
    if is_review(resource):
        return lambda asked: _review(asked, tokens)
    if sub == "token":
        return lambda asked: _token(asked, tokens)
    found = _SUBRESOURCES.get(sub) if sub else None
    if found is not None:
        verbs, handler = found
        if request.verb not in verbs:
            raise method_not_allowed(resource.subject(request.target.name), f"{request.verb} {sub}")
        return handler
    if sub in ("status", "finalize", ""):
        return _status_or_object(request)
    raise not_implemented(f"the {sub} subresource of {resource.plural}")


def _status_or_object(request: ApiRequest) -> Handler:
    if request.target.subresource and request.verb not in ("get", "update", "patch"):
        raise method_not_allowed(request.resource.subject(request.target.name), request.verb)
    handler = _VERBS.get(request.verb)
    if handler is None:
        raise method_not_allowed(request.resource.subject(request.target.name), request.verb)
    return handler


async def _review(request: ApiRequest, tokens: Tokens) -> web.Response:
    body = await request.body()
    store = request.cluster.store
    found = review(store, tokens, request.user, request.resource, namespace=request.namespace, body=body)
    return answer(found, code=_CREATED, form=request.form())


async def _token(request: ApiRequest, tokens: Tokens) -> web.Response:
    account = request.cluster.read(request.resource, request.namespace, request.target.name)
    found = request_token(tokens, request.namespace, account, await request.body())
    return answer(found, code=_CREATED, form=request.form())


_VERBS: dict[str, Handler] = {
    "get": get_object,
    "list": list_collection,
    "create": create_object,
    "update": update_object,
    "patch": patch,
    "delete": delete_object,
    "deletecollection": delete_collection,
}
_SUBRESOURCES: dict[str, tuple[tuple[str, ...], Handler]] = {
    "scale": (("get", "update", "patch"), scale),
    "binding": (("create",), binding),
    "eviction": (("create",), eviction),
}
