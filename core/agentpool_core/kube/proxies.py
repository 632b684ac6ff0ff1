"""The proxy between this process and the API server, from the environment, as kubectl reads it.

HTTPS_PROXY or HTTP_PROXY by the server's scheme, unless NO_PROXY lists the server: by name, domain, address or CIDR.
aiohttp knows no CIDRs, so the rules are those of the `kubernetes` package's synchronous client. A server on this
machine is never reached through a proxy. `proxy-url` of a kubeconfig takes precedence over all of this.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies

from agentpool_core.errors import SettingError

SUPPORTED = ("http", "https")  # by aiohttp


def environment_proxy(server: str) -> str | None:
    """Return the URL of the proxy to a server; None: it is reached directly."""
    from kubernetes.client.rest import should_bypass_proxies

    proxies = getproxies()
    proxy = proxies.get(urlsplit(server).scheme)
    if not proxy or _is_local(server) or should_bypass_proxies(server, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def check_proxy(field: str, proxy: str) -> None:
    """Raise SettingError for a proxy that cannot be used."""
    scheme = urlsplit(proxy).scheme
    if scheme not in SUPPORTED:
        raise SettingError(
            field=field,
            value=scheme,
            problem="is the scheme of a proxy that is not supported",
            remedy="name an HTTP proxy, such as http://proxy:3128",
        )


def _is_local(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
