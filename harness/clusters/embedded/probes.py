"""Probes as a kubelet has them: httpGet and tcpSocket from the node, exec in the pod.

What follows from their answers is the business of :mod:`health`.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, assert_never

from harness.clusters.embedded.children import Children, Exited, Program
from harness.clusters.embedded.namespaces import enter_network

_OBJECT = dict[str, Any]
_FIRST_FAILURE = 400
DEFAULT_GRACE = 30
"""Seconds between SIGTERM and SIGKILL where a pod says nothing else."""


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
class Exec:
    """A command of this machine's, run in the pod's network; exit code 0 is the success."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A kind of action that is not taken here."""

    kind: str


class Purpose(enum.Enum):
    """What a probe is for."""

    STARTUP = "startup"
    """Until it succeeds once the others wait; where it does not, the container is restarted."""
    LIVENESS = "liveness"
    """Where it fails the container is restarted."""
    READINESS = "readiness"
    """Where it fails the pod is not Ready, and no Service leads to it."""


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """One probe of a container; times in seconds."""

    purpose: Purpose
    action: Http | Tcp | Exec | Unsupported
    host: str
    """Empty: the pod's own address."""
    port: int
    delay: float
    period: float
    timeout: float
    successes: int
    """So many in a row count as a success."""
    failures: int
    """So many in a row count as a failure."""
    grace: float
    """How long a container has to end by itself when this probe has it killed."""


def probes_of(pod: _OBJECT, container: _OBJECT) -> dict[Purpose, HealthProbe]:
    """Return the probes that a container asks for."""
    asked = {purpose: container.get(f"{purpose.value}Probe") for purpose in Purpose}
    return {
        purpose: _probe(pod, container, purpose, probe) for purpose, probe in asked.items() if probe
    }


def complaint(probes: Mapping[Purpose, HealthProbe]) -> str:
    """Say which probes of a container are not run here, and what to ask for; "" if all are."""
    refused = [
        f"{probe.action.kind} {purpose.value} probes"
        for purpose, probe in probes.items()
        if isinstance(probe.action, Unsupported)
    ]
    listed = " and ".join(refused)
    return f"{listed} are not run here; use httpGet, tcpSocket or exec" if refused else ""


def _probe(
    pod: _OBJECT, container: _OBJECT, purpose: Purpose, probe: Mapping[str, Any]
) -> HealthProbe:
    action, where = _action(probe)
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is None:
        grace = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    return HealthProbe(
        purpose,
        action,
        str(where.get("host") or ""),
        _port(container, where.get("port", 0)),
        float(probe.get("initialDelaySeconds") or 0),
        float(probe.get("periodSeconds") or 10),
        float(probe.get("timeoutSeconds") or 1),
        int(probe.get("successThreshold") or 1),
        int(probe.get("failureThreshold") or 3),
        float(grace),
    )


def _action(probe: Mapping[str, Any]) -> tuple[Http | Tcp | Exec | Unsupported, Mapping[str, Any]]:
    match probe:
        case {"httpGet": where}:
            headers = tuple(
                (item["name"], item["value"]) for item in where.get("httpHeaders") or ()
            )
            tls = where.get("scheme", "HTTP").upper() == "HTTPS"
            return Http(where.get("path") or "/", tls, headers), where
        case {"tcpSocket": where}:
            return Tcp(), where
        case {"exec": {"command": [_, *_] as argv}}:
            return Exec(tuple(argv)), {}
        case {"grpc": _}:
            return Unsupported("gRPC"), {}
    return Unsupported("empty"), {}


def _port(container: _OBJECT, port: int | str) -> int:
    if isinstance(port, int):
        return port
    named = (item for item in container.get("ports") or () if item.get("name") == port)
    return int(next((item["containerPort"] for item in named), 0))


def client_in(netns: str, address: str) -> socket.socket:
    """Return a socket of a network namespace for an address of its family.

    The calling thread is in that namespace from then on.
    """
    enter_network(netns)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.setblocking(False)  # noqa: FBT003  # the standard library's
    return client


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to probe: a pod's network namespace and address, and its node's namespace."""

    pod: str
    node: str
    address: str


class Prober:
    """Runs probes, each with a thread that goes to where it starts; in the event loop."""

    def __init__(self, children: Children, threads: Executor) -> None:
        """Start commands with ``children``, and go to namespaces with ``threads``."""
        self._children = children
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    async def succeeds(self, probe: HealthProbe, target: Target) -> bool:
        """Run one probe."""
        match probe.action:
            case Exec(argv):
                return await self._exits_well(argv, target.pod, probe)
            case Http() | Tcp() as action:
                address = probe.host or target.address
                client = await self._loop.run_in_executor(
                    self._threads, client_in, target.node, address
                )
                return await _reaches(action, probe, client, address)
            case Unsupported():
                return False
        assert_never(probe.action)

    async def _exits_well(self, argv: Sequence[str], netns: str, probe: HealthProbe) -> bool:
        """Run a command; one that takes longer than the probe's timeout is killed and fails."""
        ended: asyncio.Future[int] = self._loop.create_future()
        try:
            pid = await self._loop.run_in_executor(
                self._threads, self._start, argv, netns, ended.set_result
            )
        except OSError:  # no such command here: the probe of a container without it fails, too
            return False
        await asyncio.wait({ended}, timeout=probe.timeout)
        if ended.done():
            return ended.result() == 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        return False

    def _start(self, argv: Sequence[str], netns: str, exited: Exited) -> int:
        enter_network(netns)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            program = Program(argv, dict(os.environ), (nothing, nothing, nothing))
            return self._children.start(program, exited)
        finally:
            os.close(nothing)


async def _reaches(
    action: Http | Tcp, probe: HealthProbe, client: socket.socket, address: str
) -> bool:
    """Probe over ``client``, an unconnected socket of the node's namespace."""
    loop = asyncio.get_running_loop()
    with client, contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(probe.timeout):
            target = (address, probe.port)
            await loop.sock_connect(client, target)
            match action:
                case Http() as http:
                    return await _answers(http, client, target)
                case Tcp():
                    return True
    return False


def _authority(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


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
        for name, value in (("Host", _authority(*target)), ("User-Agent", "kube-probe")):
            if name.lower() not in given:
                headers.append((name, value))
        lines = [f"GET {http.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        status = (await reader.readline()).split()
        return 200 <= int(status[1]) < _FIRST_FAILURE if len(status) > 1 else False  # noqa: PLR2004
    finally:
        writer.close()
