"""Read a kubeconfig: server, trust and identity. The client takes over next.

Supported: the current context's server, `certificate-authority(-data)`, `insecure-skip-tls-verify`, `tls-server-name`,
`token`, `tokenFile`, `client-certificate(-data)` with the key, `username`/`password`. Refused by name: `exec` and
`auth-provider` plugins.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from agentpool_devcluster.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How to reach an API server."""

    server: str  # base URL, without a trailing slash
    headers: Mapping[str, str]  # Authorization, if the kubeconfig has a token or password
    tls: ssl.SSLContext | None  # None for plain HTTP
    tls_server_name: str | None = None  # name in the server's certificate, if it differs from the URL


def read_kubeconfig(path: Path) -> Access:
    """Return the access that the current context of the kubeconfig at `path` defines. Raises KubeconfigError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(str(path), f"it cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise KubeconfigError(str(path), "it is empty or no mapping")
    context = _entry(path, config, "contexts", config.get("current-context"), "context")
    cluster = _entry(path, config, "clusters", context.get("cluster"), "cluster")
    name = context.get("user")
    user = _entry(path, config, "users", name, "user") if name else {}
    for plugin in ("exec", "auth-provider"):
        if user.get(plugin):
            problem = f"user {name!r} needs an {plugin} plugin, which is not supported; use a token"
            raise KubeconfigError(str(path), problem)
    server = str(cluster.get("server") or "").rstrip("/")
    if not server:
        raise KubeconfigError(str(path), "its cluster has no server")
    try:
        tls = _tls(path.parent, cluster, user) if server.startswith("https:") else None
        headers = _headers(path.parent, user)
    except (OSError, ssl.SSLError, binascii.Error) as error:
        raise KubeconfigError(str(path), f"its credentials cannot be used ({error})") from error
    return Access(server=server, headers=headers, tls=tls, tls_server_name=cluster.get("tls-server-name"))


def _entry(path: Path, config: Mapping[str, Any], section: str, name: object, field: str) -> Mapping[str, Any]:
    entries: Sequence[Mapping[str, Any]] = config.get(section) or ()
    for entry in entries:
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry.get(field) or {}
            return found
    raise KubeconfigError(str(path), f"its {section} have none named {name!r}")


def _headers(folder: Path, user: Mapping[str, Any]) -> Mapping[str, str]:
    token = user.get("token")
    if not token and user.get("tokenFile"):
        token = (folder / str(user["tokenFile"])).read_text(encoding="utf-8").strip()
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _tls(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = _material(folder, cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _material(folder, user, "client-certificate")
    key = _material(folder, user, "client-key")
    if certificate and key:
        # The ssl module loads certificates from files only; the temporary file is removed before the function returns.
        with tempfile.NamedTemporaryFile() as chain:
            chain.write(certificate + b"\n" + key)
            chain.flush()
            context.load_cert_chain(chain.name)
    return context


def _material(folder: Path, section: Mapping[str, Any], field: str) -> bytes | None:
    """Return the bytes given inline as `FIELD-data` or in the file named by `FIELD`; None if neither is set."""
    if section.get(f"{field}-data"):
        return base64.b64decode(str(section[f"{field}-data"]), validate=True)
    if section.get(field):
        return (folder / str(section[field])).read_bytes()
    return None
