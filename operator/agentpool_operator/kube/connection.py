"""How to reach the Kubernetes API: a kubeconfig, or the pod's own service account.

The same configuration serves our own client and kopf's watches. `process` opens the connection.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import client as kube

from agentpool_core.kube import client


async def configuration(kubeconfig: Path | None) -> kube.Configuration:
    """The client's configuration. Raises SettingError naming the file that cannot be used."""
    found: kube.Configuration = await client.configuration(kubeconfig or _default_kubeconfig())
    return found


def _default_kubeconfig() -> Path | None:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if named:
        return Path(named)
    home = Path.home() / ".kube" / "config"
    return home if home.exists() else None


async def kopf_connection(settings: kube.Configuration) -> kopf.ConnectionInfo:
    """The same connection for kopf. A token that is renewed in a file is read again at each login."""
    hook: Any = settings.refresh_api_key_hook
    if hook is not None:
        outcome = hook(settings)
        if hasattr(outcome, "__await__"):
            await outcome
    scheme, token = _bearer(settings)
    return kopf.ConnectionInfo(
        server=settings.host,
        ca_path=settings.ssl_ca_cert,
        ca_data=settings.ca_cert_data,
        insecure=not settings.verify_ssl,
        scheme=scheme,
        token=token,
        username=settings.username or None,
        password=settings.password or None,
        certificate_path=settings.cert_file,
        private_key_path=settings.key_file,
    )


def _bearer(settings: kube.Configuration) -> tuple[str | None, str | None]:
    header = str(settings.api_key.get("BearerToken") or settings.api_key.get("authorization") or "")
    scheme, _, token = header.partition(" ")
    return (scheme, token) if token else (None, header or None)
