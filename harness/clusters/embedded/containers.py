"""What runs in a pod: nginx for nginx images, a command that the host has, or nothing (a pause).

nginx serves its container's TCP ports. Whatever port is left of a container without a command, of
any image and by its protocol, has an echo server (:mod:`echoes`).

nginx is the real one, without a master process: one process and 1 MiB a pod. A pod is Ready once
every port of its nginx has taken a connection.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clusters.embedded.children import Children, Exited, Program
from harness.clusters.embedded.sysctls import has_ipv6

_BACKLOG = 4096
_HTTP = 80
_CONNECTIONS = 1024
_PATIENCE = 30.0
_RETRY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Nginx:
    """A real nginx on these TCP ports."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the host's."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing runs; the namespace is there."""


Workload = Nginx | Command | Pause


def workloads(pod: dict[str, Any]) -> tuple[Workload, ...]:
    """Return what each container of a pod runs, in the order of ``spec.containers``."""
    return tuple(_workload(container) for container in pod["spec"].get("containers", ()))


def _workload(container: dict[str, Any]) -> Workload:
    argv = (*(container.get("command") or ()), *(container.get("args") or ()))
    if "nginx" in _base_name(container.get("image", "")) and not container.get("command"):
        ports = container.get("ports") or [{"containerPort": _HTTP}]
        wanted = {port["containerPort"] for port in ports if port.get("protocol", "TCP") == "TCP"}
        return Nginx(tuple(sorted(wanted)))
    if container.get("command") and shutil.which(argv[0]):
        env = tuple((item["name"], item.get("value", "")) for item in container.get("env") or ())
        return Command(argv, env)
    return Pause()


def _base_name(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Started:
    """A process, and a socket of its network namespace for each port that it will listen on."""

    pid: int
    ports: tuple[tuple[socket.socket, int], ...] = ()

    async def listening(self) -> None:
        """Return once every port has taken a connection; raises TimeoutError after a while."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_PATIENCE):
            for unused, port in self.ports:
                with unused:
                    while not await _connects(loop, unused, port):  # noqa: ASYNC110  # no event
                        await asyncio.sleep(_RETRY_SECONDS)


async def _connects(loop: asyncio.AbstractEventLoop, client: socket.socket, port: int) -> bool:
    try:
        await loop.sock_connect(client, ("127.0.0.1", port))
    except ConnectionError:  # refused; the call after a refused one says aborted
        return False
    return True


class Runtime:
    """Starts workloads in the calling thread's namespaces."""

    def __init__(
        self, children: Children, scratch: Path, logs: Path, *, pod_logs: bool = False
    ) -> None:
        """Keep configuration and nginx's files in ``scratch``, output in ``logs``.

        With ``pod_logs`` each nginx has a log of its own, with the requests in it.
        """
        self.children = children
        self._scratch = scratch
        self._logs = logs
        self._pod_logs = pod_logs
        self._nginx = shutil.which("nginx") or "/usr/sbin/nginx"

    def log_of(self, container: str) -> Path:
        """Return where a container (``namespace/pod/number``) writes to."""
        return self._logs / "pods" / f"{container.replace('/', '_')}.log"

    def start(self, container: str, workload: Workload, exited: Exited) -> Started | None:
        """Start what a container (``namespace/pod/number``) runs; None for a pause."""
        log = self.log_of(container)
        log.parent.mkdir(exist_ok=True)
        match workload:
            case Nginx(ports):
                own = log if self._pod_logs else self._logs / "nginx.log"
                return self._start_nginx(ports, own, exited)
            case Command(argv, env):
                pid = self._spawn(Program(argv, dict(os.environ) | dict(env)), log, exited)
                return Started(pid)
            case Pause():
                return None

    def _start_nginx(self, ports: Sequence[int], log: Path, exited: Exited) -> Started:
        argv = (self._nginx, "-e", "stderr", "-p", f"{self._scratch}/", "-c", self._config(ports))
        pid = self._spawn(Program(argv), log, exited)
        return Started(pid, tuple((_client(), port) for port in ports))

    def _spawn(self, program: Program, log: Path, exited: Exited) -> int:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            streams = (nothing, output, output)
            return self.children.start(Program(program.argv, program.env, streams), exited)
        finally:
            os.close(output)
            os.close(nothing)

    def _config(self, ports: Sequence[int]) -> str:
        """Return the configuration for a set of ports, shared by all pods with that set."""
        path = self._scratch / f"nginx-{'-'.join(map(str, ports)) or 'none'}.conf"
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.{id(ports)}.part")
            part.write_text(nginx_config(ports, _OWN_LOG if self._pod_logs else _SHARED_LOG))
            part.replace(path)
        return str(path)


_OWN_LOG = ("notice", "/dev/stdout combined buffer=8k flush=1s")
_SHARED_LOG = ("error", "off")


def nginx_config(
    ports: Sequence[int], logs: tuple[str, str] = _SHARED_LOG, *, options: str = ""
) -> str:
    """Return a small configuration: every port answers with the host's name and its client."""
    options = f"backlog={_BACKLOG}{options}"
    addresses = ("*", "[::]") if has_ipv6() else ("*",)
    listens = "\n".join(
        f"    listen {address}:{port} {options};" for port in ports for address in addresses
    )
    level, requests = logs
    return f"""\
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr {level};
events {{
  worker_connections {_CONNECTIONS};
}}
http {{
  access_log {requests};
  server_tokens off;
  tcp_nodelay on;
  keepalive_requests 1000000;
  keepalive_timeout 1d;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
{listens}
    default_type text/plain;
    return 200 "$hostname to $remote_addr\\n";
  }}
}}
"""


def _client() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)  # noqa: FBT003  # the standard library's
    return client
