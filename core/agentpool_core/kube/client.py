"""Read access to the cluster for the command line and the gateway.

AgentPools, the Secret with a pool's Redis URL, nodes, the CRD. Kubernetes objects are returned as mappings. Needs the
package `kubernetes`, imported when a connection is opened, which keeps this package light. The operator has its own
connections, because it writes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from agentpool_core.errors import ClusterError, ClusterUnreachableError, SettingError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import deep_json, paths
from agentpool_core.redis_address import Address, address_of, missing_secret, redis_of, secret_of
from agentpool_core.text import shown_error

TIMEOUT_S = 10.0  # per request
NOT_FOUND = 404
FIRST_REFUSAL = 400  # HTTP status
TOO_MANY_REQUESTS = 429
FIRST_SERVER_ERROR = 500
SHOWN_BYTES = 200  # of an answer that is not a Status
Object = Mapping[str, Any]


class RefusedError(ClusterError):
    """The API server refused with `status`; its message names field and value."""

    def __init__(self, method: str, path: str, status: int, body: bytes) -> None:
        self.status = status
        try:
            message = json.loads(body)["message"]
        except (TypeError, ValueError, KeyError):
            message = body[:SHOWN_BYTES].decode(errors="replace")
        super().__init__(f"{method} {path}: {status} {message}")

    @property
    def passing(self) -> bool:
        """Return whether the server may accept the same request a little later."""
        return self.status == TOO_MANY_REQUESTS or self.status >= FIRST_SERVER_ERROR


class Cluster:
    """An open connection. Every method raises ClusterError when the API refuses or does not answer."""

    def __init__(self, api: Any) -> None:
        self.api = api  # kubernetes.aio's ApiClient

    async def agentpools(self, namespace: str | None = None) -> list[Object]:
        """The AgentPools of a namespace; None: of all."""
        found = await self.get(paths.agentpools(namespace))
        return list(found.get("items", []))

    async def agentpool(self, pool: PoolRef) -> Object:
        """Return an AgentPool. Raises UnknownPoolError if it does not exist."""
        try:
            return await self.get(paths.agentpools(pool.namespace, pool.name))
        except RefusedError as error:
            if error.status == NOT_FOUND:
                raise UnknownPoolError(str(pool)) from error
            raise

    async def redis_address(self, pool: PoolRef) -> Address:
        """Return the address of a pool's Redis. Raises SecretError for an unusable Secret."""
        redis = redis_of(await self.agentpool(pool))
        reference = secret_of(redis)
        secret = {} if reference is None else await self._secret(pool.namespace, reference.name)
        return address_of(redis, pool.namespace, secret)

    async def _secret(self, namespace: str, name: str) -> Object:
        try:
            return await self.get(paths.secret(namespace, name))
        except RefusedError as error:
            if error.status == NOT_FOUND:
                raise missing_secret(namespace, name) from error
            raise

    async def get(self, path: str) -> Object:
        """Return an object or list by its path on the API server."""
        return await self.request("GET", path)

    async def post(self, path: str, body: Object) -> Object:
        """Create an object, such as a review; return the server's answer."""
        return await self.request("POST", path, body)

    async def merge(self, path: str, body: Object, *, manager: str) -> Object:
        """Change the fields of an object that `body` has (JSON merge patch), as the field manager `manager`."""
        query = {"fieldManager": manager}
        return await self.request("PATCH", path, body, kind="application/merge-patch+json", query=query)

    async def text(self, path: str, **query: str) -> str:
        """Return an answer that is no JSON, such as a pod's log."""
        found = await self._bytes("GET", path, None, "application/json", accept="*/*", query=query)
        return found.decode(errors="replace")

    async def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Send a JSON request. Raises RefusedError with the API's message."""
        text = await self._bytes(method, path, body, kind, accept="application/json", query=query)
        try:
            found: Object = deep_json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _no_object(method, path) from error
        if not isinstance(found, dict):
            raise _no_object(method, path)
        return found

    async def _bytes(
        self,
        method: str,
        path: str,
        body: Object | None,
        kind: str,
        *,
        accept: str,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        import aiohttp

        headers = {"Accept": accept, "Content-Type": kind}
        url = f"{self.api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            await self.api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self.api.call_api(
                method,
                url,
                headers,
                body,
                _request_timeout=TIMEOUT_S,
            )
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnreachableError(
                f"{method} {path}: no answer ({shown_error(error)})", remedy="check the kubeconfig and the network"
            ) from error
        if response.status >= FIRST_REFUSAL:
            raise RefusedError(method, path, response.status, text)
        return bytes(text)


@asynccontextmanager
async def connected(kubeconfig: Path | None = None) -> AsyncIterator[Cluster]:
    """A connection from a kubeconfig, or the pod's own service account where there is none.

    Raises SettingError where neither can be used, or the package `kubernetes` is missing.
    """
    settings = await configuration(kubeconfig)  # reports a missing package
    from kubernetes.aio import client

    api: Any = client.ApiClient(settings)  # only partly typed
    try:
        yield Cluster(api)
    finally:
        await api.close()


async def configuration(kubeconfig: Path | None) -> Any:
    """`kubernetes.aio`'s configuration from a kubeconfig, or the pod's own service account where there is none.

    Raises SettingError where neither can be used, or the package `kubernetes` is missing.
    """
    remedy = "pass a kubeconfig that works, set KUBECONFIG, or run in a pod with a service account"
    shown = str(kubeconfig or "none")
    try:
        from kubernetes.aio import client, config
    except ModuleNotFoundError as error:
        raise SettingError(
            field="kubeconfig",
            value=shown,
            problem="the package kubernetes is not installed",
            remedy="pip install kubernetes",
        ) from error
    if kubeconfig is not None and not _is_there(kubeconfig):
        raise SettingError(field="kubeconfig", value=shown, problem="there is no such file", remedy=remedy)
    settings = client.Configuration()
    loader: Any = config  # only partly typed
    try:
        if kubeconfig is None:
            loader.load_incluster_config(client_configuration=settings)
        else:
            await loader.load_kube_config(
                config_file=str(kubeconfig), client_configuration=settings, persist_config=False
            )
    except Exception as error:  # the loader raises TypeError, KeyError and further errors for invalid kubeconfigs
        known = isinstance(error, (config.ConfigException, OSError, ValueError, yaml.YAMLError))
        problem = f"cannot be used: {' '.join(str(error).split())}" if known else "is not a kubeconfig"
        raise SettingError(field="kubeconfig", value=shown, problem=problem, remedy=remedy) from error
    return settings


def _is_there(kubeconfig: Path) -> bool:
    return kubeconfig.is_file()  # the loader treats a missing file as an empty file


def _no_object(method: str, path: str) -> ClusterError:
    return ClusterError(
        f"{method} {path}: the answer is no JSON object", remedy="check what is behind the server's address"
    )
