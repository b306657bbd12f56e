"""Where a measurement takes place: a network namespace, an API server and a daemon in it."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.bench.world import NODE, Size

CLONE_NEWNET: Final = 0x40000000
NETLINK_NETFILTER: Final = 12
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
SO_RCVBUFFORCE: Final = 33
NFNLGRP_NFTABLES: Final = 7
NEWGEN: Final = 10 << 8 | 15  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN
PATIENCE: Final = 120.0
TICK: Final = 0.005
MIB: Final = 2**20


def enter_own_namespace() -> None:
    """Leave the host's network for one of our own, with a loopback: children come along."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        error = ctypes.get_errno()
        message = f"cannot make a network namespace: {os.strerror(error)}; run as root"
        raise SystemExit(message)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Commits:
    """Hears of each transaction that the kernel accepts, and when."""

    def __init__(self) -> None:
        """Listen to this network namespace's nftables."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 * MIB)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._heard: list[float] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                data = self._socket.recv(MIB)
            except OSError:
                continue  # more than the buffer holds: a later one will be heard
            now = time.monotonic()
            if NEWGEN in _types(data):
                self._heard.append(now)

    def count(self) -> int:
        """Return how many transactions were heard so far."""
        return len(self._heard)

    def after(self, count: int, quiet: float = 0.05) -> float:
        """Return when the last transaction after number ``count`` was, once all is quiet."""
        wait_for(lambda: len(self._heard) > count)
        while time.monotonic() - self._heard[-1] < quiet:
            time.sleep(TICK)
        return self._heard[-1]


def _types(data: bytes) -> Iterator[int]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        yield kind
        offset += max(length + 3 & ~3, 16)


def wait_for(condition: Any, patience: float = PATIENCE) -> None:
    """Wait until a condition holds; a TimeoutError is a result."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            message = "waited too long"
            raise TimeoutError(message)
        time.sleep(TICK)


class Api:
    """The API server's client: one connection, one request after the other."""

    def __init__(self, port: int) -> None:
        """Talk to the server on this port of the loopback."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Send a request and wait for its answer, which has to be a good one."""
        kind = "merge-patch+json" if method == "PATCH" else "json"
        headers = {"Content-Type": f"application/{kind}"}
        self._connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            message = f"{method} {path}: {answer.status}: {text.decode()}"
            raise RuntimeError(message)

    def label(self, namespace: str, name: str, **labels: str) -> None:
        """Change labels of a pod."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self.send("PATCH", path, {"metadata": {"labels": labels}})


class Watcher:
    """A second watcher of pods beside the daemon's: tells when an event arrives at one."""

    def __init__(self, port: int) -> None:
        """Watch from now on."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        query = "watch=true&resourceVersion=0"
        request = f"GET /api/v1/pods?{query} HTTP/1.1\r\nHost: bench\r\n\r\n"
        self._socket.sendall(request.encode())
        self.last = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while self._socket.recv(MIB):
            self.last = time.monotonic()


@dataclass(frozen=True, slots=True)
class Server:
    """The API server as a process, on a port of the loopback."""

    port: int
    pid: int

    def burst(self) -> None:
        """Let a thousand pods change at once."""
        os.kill(self.pid, signal.SIGUSR1)


@contextmanager
def api_server(size: Size) -> Iterator[Server]:
    """Run the builtin API server with a cluster in it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, fd = int(listening.getsockname()[1]), listening.fileno()
        sizes = [f"--pods={size.pods}", f"--policies={size.policies}", f"--local={size.local}"]
        argv = [sys.executable, "-m", "tests.bench.server", f"--listen-fd={fd}", *sizes]
        process = subprocess.Popen(argv, pass_fds=[fd])
        try:
            wait_for(lambda: _answers(port))
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds that a process has used, and its resident memory in MiB, now and at most."""

    cpu: float
    resident: float
    peak: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bounds in seconds, as Prometheus has them."""

    counts: Mapping[float, float]

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was counted between two readings."""
        return Histogram({at: count - earlier.counts[at] for at, count in self.counts.items()})

    def quantile(self, share: float) -> float:
        """Return a quantile in milliseconds, evenly spread within its bucket."""
        wanted = share * max(self.counts.values())
        low, below = 0.0, 0.0
        for high, count in sorted(self.counts.items()):
            if count >= wanted:
                part = (wanted - below) / (count - below) if count > below else 1.0
                return 1000 * (low + (high - low) * part)
            low, below = high, count
        return float("inf")


class Daemon:
    """The enforcer as a process of its own."""

    def __init__(self, port: int, folder: Path) -> None:
        """Describe it; ``with`` starts it."""
        self._master = f"http://127.0.0.1:{port}"
        self._log = folder / "enforcer.log"
        self._kubeconfig = folder / "kubeconfig"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._health = int(free.getsockname()[1])

    def __enter__(self) -> Self:
        """Start it."""
        self._kubeconfig.write_text(_KUBECONFIG.format(server=self._master))
        argv = [sys.executable, "-m", "enforcer", "run", f"--node-name={NODE}"]
        argv += [f"--kubeconfig={self._kubeconfig}", "--health-address=127.0.0.1"]
        argv += [f"--health-port={self._health}"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(argv, stderr=log, stdout=log)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        """End it; its rules stay, as always."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def wait_ready(self) -> None:
        """Wait until it says that the node is in sync."""
        wait_for(self._is_ready)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(self._log.read_text())
        return self._get("/readyz")[0] == http.HTTPStatus.OK

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._health, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def _scraped(self) -> list[str]:
        """Return its metrics; on a busy machine the first answer may come too late."""
        answers: list[str] = []

        def scrape() -> bool:
            status, text = self._get("/metrics")
            answers[:] = text.splitlines()
            return status == http.HTTPStatus.OK

        wait_for(scrape)
        return answers

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        for line in self._scraped():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise KeyError(name)

    def histogram(self, name: str) -> Histogram:
        """Return a histogram's cumulative counts by their bounds in seconds."""
        prefix = f"{name}_bucket{{le="
        lines = [line for line in self._scraped() if line.startswith(prefix)]
        pairs = (line.removeprefix(prefix).split("} ") for line in lines)
        return Histogram({float(bound.strip('"')): float(count) for bound, count in pairs})

    def since_first_request(self, started: float) -> float:
        """Return the seconds from ``started`` (monotonic) to the daemon's first line of its log."""
        first = datetime.strptime(self._log.read_text()[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
        return first.timestamp() - (time.time() - (time.monotonic() - started))

    def busy(self) -> float:
        """Return the CPU seconds of its own threads, to the nanosecond, and of ended programs."""
        tasks = Path("/proc", str(self.process.pid), "task").iterdir()
        own = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        fields = Path("/proc", str(self.process.pid), "stat").read_text().rpartition(")")[2].split()
        return own + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def usage(self) -> Usage:
        """Return what it has used so far, the programs that it ran included."""
        proc = Path("/proc", str(self.process.pid))
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        ticks = sum(int(fields[index]) for index in (11, 12, 13, 14))
        status = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
        )
        resident, peak = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), resident, peak)


_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: bench
clusters: [{{name: bench, cluster: {{server: "{server}"}}}}]
users: [{{name: bench, user: {{}}}}]
contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]
"""
