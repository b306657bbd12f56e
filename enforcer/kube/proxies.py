"""The HTTP proxy that the environment asks for, by the rules of Kubernetes' own clients.

aiohttp's reading of the environment would not do: NO_PROXY of clusters holds networks
(``10.96.0.0/12``), which it does not know, and it would send in-cluster requests to the proxy.
https://pkg.go.dev/golang.org/x/net/http/httpproxy
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from enforcer.errors import SettingsError

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``url``; None for none.

    SettingsError for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name)
    if not proxy or _is_exempt(parts, environment):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in _PORTS or not urlsplit(proxy).hostname:
        message = (
            f"{name.upper()}: {proxy!r} is no http:// or https:// proxy; others do not work here"
        )
        raise SettingsError(message)
    return proxy


def _is_exempt(parts: SplitResult, environment: Mapping[str, str]) -> bool:
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if host == "localhost" or _is_loopback(host):
        return True
    listed = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    entries = (entry.strip().lower() for entry in listed.split(","))
    return any(_matches(entry, host, port) for entry in entries if entry)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal() and ("]" in name or ":" not in name):
        return int(wanted) == port and _matches(name, host, port)
    name = entry.removeprefix("*")
    return (
        host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
    )
