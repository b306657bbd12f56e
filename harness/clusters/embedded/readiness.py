"""Readiness probes, from the pod's own node as a kubelet sends them: httpGet and tcpSocket.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.clusters.embedded.namespaces import enter_network

_CONTAINER = dict[str, Any]
_FIRST_FAILURE = 400


@dataclass(frozen=True, slots=True)
class Http:
    """A GET; any answer from 200 to 399 is a success."""

    path: str
    tls: bool
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tcp:
    """A connection; that it opens is the success."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A kind of probe that is not run here."""

    kind: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """A container's readiness probe; times in seconds."""

    action: Http | Tcp | Unsupported
    host: str
    """Empty: the pod's own address."""
    port: int
    delay: float
    period: float
    timeout: float
    successes: int
    failures: int


def readiness_of(container: _CONTAINER) -> Readiness | None:
    """Return what a container asks for; None where it asks for nothing."""
    probe = container.get("readinessProbe")
    if not probe:
        return None
    action, where = _action(probe)
    return Readiness(
        action,
        str(where.get("host") or ""),
        _port(container, where.get("port", 0)),
        float(probe.get("initialDelaySeconds") or 0),
        float(probe.get("periodSeconds") or 10),
        float(probe.get("timeoutSeconds") or 1),
        int(probe.get("successThreshold") or 1),
        int(probe.get("failureThreshold") or 3),
    )


def _action(probe: Mapping[str, Any]) -> tuple[Http | Tcp | Unsupported, Mapping[str, Any]]:
    match probe:
        case {"httpGet": where}:
            headers = tuple(
                (item["name"], item["value"]) for item in where.get("httpHeaders") or ()
            )
            tls = where.get("scheme", "HTTP").upper() == "HTTPS"
            return Http(where.get("path") or "/", tls, headers), where
        case {"tcpSocket": where}:
            return Tcp(), where
    kinds = [kind for kind in ("exec", "grpc") if kind in probe]
    return Unsupported(" ".join(kinds) or "empty"), {}


def _port(container: _CONTAINER, port: int | str) -> int:
    if isinstance(port, int):
        return port
    named = (item for item in container.get("ports") or () if item.get("name") == port)
    return int(next((item["containerPort"] for item in named), 0))


def client_in(netns: str) -> socket.socket:
    """Return a socket of a network namespace; the calling thread is in that one from then on."""
    enter_network(netns)
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)  # noqa: FBT003  # the standard library's
    return client


async def succeeds(probe: Readiness, client: socket.socket, address: str) -> bool:
    """Run one probe over ``client``, an unconnected socket of the node's namespace."""
    loop = asyncio.get_running_loop()
    with client, contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(probe.timeout):
            target = (probe.host or address, probe.port)
            await loop.sock_connect(client, target)
            match probe.action:
                case Http() as http:
                    return await _answers(http, client, target)
                case Tcp():
                    return True
                case Unsupported():
                    return False
    return False


async def _answers(http: Http, client: socket.socket, target: tuple[str, int]) -> bool:
    tls = None
    if http.tls:  # kubelets do not check a pod's certificate either
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    name = target[0] if http.tls else None
    reader, writer = await asyncio.open_connection(sock=client, ssl=tls, server_hostname=name)
    try:
        given = {name.lower() for name, _ in http.headers}
        headers = [*http.headers, ("Connection", "close")]
        for name, value in (("Host", f"{target[0]}:{target[1]}"), ("User-Agent", "kube-probe")):
            if name.lower() not in given:
                headers.append((name, value))
        lines = [f"GET {http.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        status = (await reader.readline()).split()
        return 200 <= int(status[1]) < _FIRST_FAILURE if len(status) > 1 else False  # noqa: PLR2004
    finally:
        writer.close()
