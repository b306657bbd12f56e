"""The daemon while the API server is away: at the start, frozen, killed, and back again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from tests.kernel.netlab import Namespace, run, wait_until

pytestmark = pytest.mark.kernel

API_PORT, HEALTH_PORT = 6443, 20244
API = f"http://127.0.0.1:{API_PORT}"
ROOT = Path(__file__).parents[2]


class Node:
    """A network namespace in which an API server and the daemon can be started."""

    def __init__(self, space: Namespace, folder: Path, stack: ExitStack) -> None:
        self.space = space
        self.log = folder / "log"
        self._stack = stack

    def enforcer(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start the daemon."""
        argv = ["-m", "enforcer", "run", "--node-name=n1", f"--master={API}", *flags]
        inside = ["ip", "netns", "exec", self.space.name, sys.executable, *argv]
        with self.log.open("wb") as log:
            return self._started(subprocess.Popen(inside, cwd=ROOT, stderr=log))

    def api_server(self, pods: str) -> subprocess.Popen[bytes]:
        """Start an API server that knows this Node, with a range of pod addresses."""
        with self.space.call(listener) as listening:
            number = listening.fileno()
            argv = [sys.executable, "-m", "harness.clusters.embedded.apiserver"]
            argv.append(f"--listen-fd={number}")
            server = self._started(subprocess.Popen(argv, cwd=ROOT, pass_fds=[number]))
        self.tell(pods)
        return server

    def tell(self, pods: str) -> None:
        """Make the Node, with a range of pod addresses."""
        spec = {"podCIDR": pods, "podCIDRs": [pods]}
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": spec}
        kind = "Content-Type: application/json"
        self.space.run("curl", "-sf", "-H", kind, "-d", json.dumps(made), f"{API}/api/v1/nodes")

    def status(self, path: str) -> str:
        """Return the HTTP status of the daemon's answer; 000 when there is none."""
        ask = f"curl -so /dev/null -w '%{{http_code}}' http://127.0.0.1:{HEALTH_PORT}{path} || true"
        return self.space.run("sh", "-c", ask)

    def holds(self, text: str) -> bool:
        """Whether our table says so."""
        return text in self.space.run("sh", "-c", "nft list table ip npd 2>&1 || true")

    def is_repaired(self, text: str) -> bool:
        """Whether our table, deleted by somebody, is made again."""
        self.space.run("nft", "delete", "table", "ip", "npd")
        wait_until(lambda: self.holds(text))
        return True

    def _started(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


def listener() -> socket.socket:
    """Return a socket that listens where the API server is expected."""
    return socket.create_server(("127.0.0.1", API_PORT))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Make the namespace, and end all that was started in it."""
    name = f"npdaway-{os.getpid()}"
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    space = Namespace(name)
    with ExitStack() as stack:
        stack.callback(run, "ip", "netns", "del", name)
        stack.callback(space.close)
        yield Node(space, tmp_path, stack)


TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) +enforcer[\w.]*: \S")


def is_text(line: str) -> bool:
    """Whether a line of the log begins with time, level and who says it."""
    return TEXT_LINE.match(line) is not None


def is_json(line: str) -> bool:
    """Whether a line of the log is one object that says the same."""
    found = json.loads(line)
    when = datetime.fromisoformat(found["time"])
    return when.tzinfo is not None and {"level", "logger", "message"} <= found.keys()


@pytest.mark.parametrize(("style", "is_line"), [("text", is_text), ("json", is_json)])
def test_a_daemon_without_an_api_server_waits_and_can_be_stopped(
    node: Node, style: str, is_line: Callable[[str], bool]
) -> None:
    """It is alive, not ready, touches no rule, says why once, and ends in order when told to.

    Each line of its log has the form that was asked for.
    """
    node.space.run("nft", "add table ip npd; add set ip npd before { type ipv4_addr; }")
    daemon = node.enforcer(f"--log-format={style}")
    wait_until(lambda: node.status("/livez") == "200")
    wait_until(lambda: b"Connection refused" in node.log.read_bytes())

    assert node.status("/readyz") == "503"
    assert node.holds("set before")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(BUSY) == 0
    lines = node.log.read_text().splitlines()
    assert [line for line in lines if not is_line(line)] == []
    assert sum("warning" in line.lower() for line in lines) == 1


def test_enforcement_goes_on_while_the_api_server_is_away(node: Node) -> None:
    """Frozen or killed: rules are kept and repaired; back again: the same process follows it."""
    server = node.api_server("10.1.0.0/24")
    daemon = node.enforcer()
    wait_until(lambda: node.status("/readyz") == "200")
    assert node.holds("10.1.0.0/24")

    server.send_signal(signal.SIGSTOP)
    assert node.is_repaired("10.1.0.0/24")
    server.kill()
    server.wait()
    wait_until(lambda: b"; the rules stay as they are" in node.log.read_bytes())
    assert node.is_repaired("10.1.0.0/24")
    assert (node.status("/livez"), daemon.poll()) == ("200", None)

    node.api_server("10.1.0.0/24")
    node.space.run("curl", "-sf", "-X", "DELETE", f"{API}/api/v1/nodes/n1")
    node.tell("10.9.0.0/24")
    wait_until(lambda: node.holds("10.9.0.0/24") and not node.holds("10.1.0.0/24"))
    assert daemon.poll() is None


@pytest.mark.parametrize("way", ["nf-call", "turn"])
def test_the_daemon_notices_a_bridge_that_is_plugged_in(node: Node, way: str) -> None:
    """At once it is made to show its packets and proved; one that cannot be makes it not ready."""
    node.api_server("10.1.0.0/24")
    node.enforcer(f"--same-node={way}")
    wait_until(lambda: node.status("/readyz") == "200", BUSY)

    node.space.run("ip", "-batch", "-", text=BRIDGE)
    wait_until(
        lambda: f"bridge br0 shows its packets ({way})".encode() in node.log.read_bytes(), BUSY
    )
    wait_until(lambda: "bridge npd" in node.space.run("nft", "list", "tables"), BUSY)
    wait_until(lambda: node.status("/readyz") == "200", BUSY)

    if way == "turn":
        uplink = "link add up0 type vxlan id 7 dstport 4790\nlink set up0 master br0\n"
        node.space.run("ip", "-batch", "-", text=uplink)
        wait_until(lambda: node.status("/readyz") == "503", BUSY)
        assert b"ports to other machines (up0)" in node.log.read_bytes()
        node.space.run("ip", "link", "del", "up0")
        wait_until(lambda: node.status("/readyz") == "200", BUSY)


BRIDGE = "link add br0 type bridge\naddr add 10.1.0.1/24 dev br0\nlink set br0 up\n"
BUSY = 60.0  # seconds that a daemon may take to start while other tests burn all cores
