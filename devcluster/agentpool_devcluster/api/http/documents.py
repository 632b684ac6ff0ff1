"""The pages that are not resources: version, discovery, OpenAPI."""

from __future__ import annotations

from aiohttp import web

from agentpool_devcluster.api import discovery
from agentpool_devcluster.api.errors import no_such_path, not_acceptable
from agentpool_devcluster.api.http.answers import answer
from agentpool_devcluster.api.http.negotiation import Form, choose
from agentpool_devcluster.api.http.paths import Target
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.openapi.documents import Documents
from agentpool_devcluster.api.registry import Registry

_V3 = "/openapi/v3/"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# kubectl asks for protobuf only about kinds that version 3 does not contain. A document without definitions (field 1,
# `swagger`, is "2.0") makes kubectl report an unknown kind; a refusal would hide that message.
_NO_DEFINITIONS = b"\x0a\x032.0"


class DocumentPages:
    """Answers requests for documents about the server."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents = Documents(registry)

    def answer(self, http: web.Request, path: str, target: Target | None) -> web.Response:
        """Answer a request for a non-resource path. Raises the 404 refusal for unknown paths."""
        if http.method not in ("GET", "HEAD"):
            raise no_such_path()
        path = path.rstrip("/")
        if path in ("/api", "/apis"):
            return self._groups(http, core=path == "/api")
        if path == "/openapi/v2":
            return self._version_2(http)
        if path == "/openapi/v3":
            return answer(self._documents.index())
        if path.startswith(_V3):
            found = self._documents.version_3(path.removeprefix(_V3))
            if found is None:
                raise no_such_path()
            return answer(found)
        page = self._page(path, target)
        if page is None:
            raise no_such_path()
        return answer(page, form=choose(http.headers.get("Accept", ""), ()))

    def _page(self, path: str, target: Target | None) -> Json | None:
        if path == "/version":
            return dict(discovery.VERSION)
        if path == "":
            return {
                "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            }
        if target is not None:
            return discovery.api_resources(self._registry, target.group, target.version)
        parts = path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "apis":  # noqa: PLR2004 - /apis/GROUP
            return discovery.api_group(self._registry, parts[1])
        return None

    def _groups(self, http: web.Request, *, core: bool) -> web.Response:
        form = choose(http.headers.get("Accept", ""), ("APIGroupDiscoveryList",))
        if form.shape:
            response = answer(discovery.aggregated(self._registry, form.version, core=core))
            response.headers["Content-Type"] = _aggregated_type(form)
            return response
        return answer(discovery.api_versions() if core else discovery.api_groups(self._registry), form=form)

    def _version_2(self, http: web.Request) -> web.Response:
        accept = http.headers.get("Accept", "*/*")
        if "json" in accept or "*/*" in accept:
            return answer(self._documents.version_2())
        if _PROTOBUF in accept:
            return web.Response(body=_NO_DEFINITIONS, content_type=_PROTOBUF.replace("@", "."))  # Go reads no @ there
        raise not_acceptable("the devcluster serves /openapi/v2 as application/json only")


def _aggregated_type(form: Form) -> str:
    return f"application/json;g=apidiscovery.k8s.io;v={form.version};as=APIGroupDiscoveryList"
