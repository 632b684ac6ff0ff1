"""Open a connection to the Kubernetes API: a kubeconfig, or the pod's own service account.

The `kubernetes` package reads kubeconfigs, service accounts and exec plugins. The import waits for the first
connection, which keeps this package light. `agentpool_core.kube.client` sends the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from agentpool_core.errors import SettingError
from agentpool_core.kube import kubeconfig as kubeconfigs
from agentpool_core.kube.kubeconfig import Current, Entry
from agentpool_core.kube.plugins import run_limited
from agentpool_core.kube.proxies import check_proxy, environment_proxy
from agentpool_core.process.cancellation import end

if TYPE_CHECKING:
    from agentpool_core.kube.client import Cluster

RENEW_SECONDS = 60.0  # between looks whether a plugin's token expires within five minutes
PLUGIN_SECONDS = 60.0  # for an exec plugin, which may ask a cloud for a token
REMEDY = "pass a kubeconfig that works, set KUBECONFIG, or run in a pod with a service account"
LOADER_LOG = "kubernetes.aio.config.kube_config"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How to reach the API server."""

    settings: Any  # `kubernetes.aio`'s Configuration, only partly typed
    renew: Any = None  # the loader of a kubeconfig with a token that must be renewed during use


@asynccontextmanager
async def open_cluster(kubeconfig: Path | None = None) -> AsyncIterator[Cluster]:
    """Yield a connection; close the connection at the end of the block.

    `kubeconfig` None: the files of KUBECONFIG, else ~/.kube/config, else the pod's own service account. Raises
    SettingError if no source can be used, or if the package `kubernetes` is missing.
    """
    access = await load(kubeconfig)  # reports a missing package
    async with connect(access) as cluster:
        yield cluster


@asynccontextmanager
async def connect(access: Access) -> AsyncIterator[Cluster]:
    """Yield a connection with a renewed token; close the connection at the end of the block."""
    from kubernetes.aio import client

    from agentpool_core.kube.client import Cluster

    api: Any = client.ApiClient(access.settings)
    renewing = access.renew and asyncio.create_task(_renew_token(access))
    try:
        yield Cluster(api)
    finally:
        if renewing:
            await end(renewing)
        await api.close()


async def _renew_token(access: Access) -> None:
    """Look again and again whether the token expires soon; a plugin that hangs is ended and asked again."""
    loader = access.renew
    load_token = loader.load_gcp_token if loader.provider == "gcp" else loader.load_from_exec_plugin
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with contextlib.suppress(TimeoutError):
            await run_limited(load_token, seconds=PLUGIN_SECONDS)
            access.settings.api_key["BearerToken"] = loader.token


async def load(kubeconfig: Path | None) -> Access:
    """Return the access that `open_cluster` describes. Raises SettingError."""
    try:
        from kubernetes.aio import client
    except ModuleNotFoundError as error:
        raise SettingError(
            field="kubeconfig",
            value=str(kubeconfig or "none"),
            problem="the package kubernetes is not installed",
            remedy="pip install kubernetes",
        ) from error
    settings: Any = client.Configuration()
    sources = kubeconfigs.files() if kubeconfig is None else [kubeconfig]
    named = kubeconfig or kubeconfigs.missing()
    if named is not None and not named.is_file():  # the loader treats a missing file as an empty file
        raise _unusable([named], "there is no such file")
    with _translate_errors(sources):
        renew = await _fill(settings, sources)
    _set_proxy(settings)
    return Access(settings=settings, renew=renew)


async def _fill(settings: Any, sources: Sequence[Path]) -> Any:
    """Fill the settings from kubeconfig files, or else from the pod; return a loader if the token needs renewal."""
    from kubernetes.aio import config

    loaders: Any = config
    if not sources:
        loaders.load_incluster_config(client_configuration=settings)  # the token is renewed at each request
        return None
    current = kubeconfigs.current(sources)
    with _plugin_failures() as failures:
        loader = await run_limited(
            lambda: loaders.load_kube_config(
                config_file=os.pathsep.join(map(str, kubeconfigs.with_content(sources))),
                context=current.context,
                client_configuration=settings,
                persist_config=False,
            ),
            seconds=PLUGIN_SECONDS,
        )
    if current.plugin is not None and not settings.api_key and not settings.cert_file:
        raise _plugin_failed(sources, current.plugin, failures)
    return loader if settings.api_key and _renewable(loader, current) else None


def _renewable(loader: Any, current: Current) -> bool:
    return loader.provider == "gcp" or (loader.provider is None and current.plugin is not None)


def _set_proxy(settings: Any) -> None:
    """Set the proxy here: aiohttp alone ignores CIDRs in NO_PROXY."""
    field = "proxy-url" if settings.proxy else "HTTPS_PROXY"
    settings.proxy = settings.proxy or environment_proxy(settings.host)
    if settings.proxy:
        check_proxy(field, settings.proxy)
    settings.client_session_kwargs = {"trust_env": False}


@contextlib.contextmanager
def _translate_errors(sources: Sequence[Path]) -> Iterator[None]:
    """Raise SettingError for the errors of the loaders: TypeError, KeyError and more for a wrong file."""
    from kubernetes.aio import config

    try:
        yield
    except SettingError:
        raise
    except TimeoutError as error:
        problem = f"its exec plugin has not answered within {PLUGIN_SECONDS:g} s"
        raise _unusable(sources, problem, remedy="log in first, so that the plugin asks no question") from error
    except Exception as error:
        known = isinstance(error, (config.ConfigException, OSError, ValueError, yaml.YAMLError))
        problem = f"cannot be used: {' '.join(str(error).split())}" if known else "is not a kubeconfig"
        raise _unusable(sources, problem) from error


def _unusable(sources: Sequence[Path], problem: str, *, remedy: str = REMEDY) -> SettingError:
    shown = os.pathsep.join(map(str, sources)) or "none"
    return SettingError(field="kubeconfig", value=shown, problem=problem, remedy=remedy)


def _plugin_failed(sources: Sequence[Path], plugin: Entry, failures: Sequence[str]) -> SettingError:
    command = plugin.get("command")
    cause = "; ".join(failures) or "no reason given"
    hint = " ".join(str(plugin.get("installHint") or f"install {command}, and log in with it").split())
    return _unusable(sources, f"its exec plugin {command!r} gave no credentials ({cause})", remedy=hint)


@contextlib.contextmanager
def _plugin_failures() -> Iterator[list[str]]:
    """Yield the failures of exec plugins: the loader logs them, and goes on without credentials."""
    failures: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        failures.append(" ".join(record.getMessage().split()))
        return False

    log = logging.getLogger(LOADER_LOG)
    log.addFilter(keep)
    try:
        yield failures
    finally:
        log.removeFilter(keep)
