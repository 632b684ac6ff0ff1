"""kopf's connection to the Kubernetes API, from the configuration of our own client.

kopf takes server, trust, identity and proxy; it has no setting for `tls-server-name`, so the TLS context of the
connection checks that name. `watch_handlers` hands the connection to kopf.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kopf

if TYPE_CHECKING:
    from kubernetes.aio import client as kube


class _NamedContext(ssl.SSLContext):
    """A TLS context that asks every server for the certificate of `server_name`, regardless of the URL."""

    server_name: str

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Return the TLS layer of a connection; asyncio calls this for every connection, also through a proxy."""
        return super().wrap_bio(*arguments, **{**options, "server_hostname": self.server_name})


@dataclass(frozen=True, kw_only=True)
class _Connection(kopf.ConnectionInfo):
    """A connection with the kubeconfig's `tls-server-name`."""

    tls_server_name: str | None = None  # None: the certificate has the name in the URL

    def as_ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context of all connections."""
        context = super().as_ssl_context()
        if self.tls_server_name:
            context.__class__ = _NamedContext
            vars(context)["server_name"] = self.tls_server_name
        return context


async def kopf_connection(settings: kube.Configuration) -> kopf.ConnectionInfo:
    """Return the same connection for kopf. A token that is renewed in a file is read again at each login."""
    hook: Any = settings.refresh_api_key_hook
    if hook is not None:
        outcome = hook(settings)
        if hasattr(outcome, "__await__"):
            await outcome
    scheme, token = _bearer(settings)
    return _Connection(
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
        proxy_url=settings.proxy,
        tls_server_name=settings.tls_server_name,
    )


def _bearer(settings: kube.Configuration) -> tuple[str | None, str | None]:
    header = str(settings.api_key.get("BearerToken") or settings.api_key.get("authorization") or "")
    scheme, _, token = header.partition(" ")
    return (scheme, token) if token else (None, header or None)
