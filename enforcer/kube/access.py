"""Where the API server is and how to speak to it: values, filled by :mod:`enforcer.kube.config`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A bearer token that stays as it is."""

    token: str


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A bearer token in a file, which others replace before it expires: read at each request."""

    path: Path


@dataclass(frozen=True, slots=True)
class Password:
    """A user name and a password (HTTP basic authentication)."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials, see :mod:`enforcer.kube.plugins`.

    ``cluster`` is what it is told of the cluster, by the names of its API; empty: nothing.
    """

    command: str
    api_version: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    install_hint: str = ""
    cluster: tuple[tuple[str, str | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nothing but, perhaps, a client certificate, which is part of TLS."""


Credentials = StaticToken | TokenFile | Password | ExecPlugin | Anonymous


@dataclass(frozen=True, slots=True)
class Access:
    """An API server and how to speak to it.

    ``server`` is its URL, without a slash at the end. ``tls`` is looked at for ``https`` only.
    """

    server: str
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    credentials: Credentials = Anonymous()
    proxy: str | None = None


def url_mistake(url: str) -> str | None:
    """Say what is wrong with the URL of an API server; None if nothing is."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
        valid = valid and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    return None if valid else f"{url!r} is no URL like https://HOST:PORT"
