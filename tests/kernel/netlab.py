"""A node, its pods and an outside host as network namespaces, and probes between them.

Everything is in namespaces of our own and is deleted with them. Each namespace has one thread that
lives in it: sockets stay in the namespace in which they were made, whoever uses them later.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Self, TypeVar

from enforcer import conntrack
from enforcer.links import NodeLinks
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import Ruleset
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import TABLES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import Plan, plan
from enforcer.wiring import SameNode, Wiring

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000
SILENCE_SECONDS: Final = float(os.environ.get("NPD_SILENCE_SECONDS", "0.4"))
"""How long nothing has to come until a packet counts as dropped; longer on a slow machine."""

PATIENCE_SECONDS: Final = 60.0
NODE, OUTSIDE = "node", "outside"
OUTSIDE_ADDRESSES: Final = ("14.215.0.10", "14.216.0.10", "10.3.0.10", "fd00:3::10", "fd00:4::10")

_labs = count()


class Wire(enum.Enum):
    """How pods are connected to their node; a bridge shows its packets in one of two ways."""

    ROUTED = "routed"
    BRIDGED = "bridged"
    TURNED = "turned"

    @property
    def has_bridge(self) -> bool:
        """Whether the pods hang on a bridge."""
        return self is not Wire.ROUTED


class Verdict(enum.Enum):
    """How a probe ended."""

    OPEN = "open"
    DROPPED = "dropped"
    REJECTED = "rejected"
    REFUSED = "refused"


def run(*command: str, text: str | None = None) -> str:
    """Run a command and return its output; an error shows what it said."""
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout


def wait_until(condition: Callable[[], bool], patience: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition, and fail after ``patience`` seconds without it."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


class Namespace:
    """A network namespace with a thread inside."""

    def __init__(self, name: str) -> None:
        """Enter the namespace ``name`` with a thread of our own."""
        self.name = name
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function inside; sockets that it makes and programs that it runs are inside."""
        return self._thread.submit(function, *arguments).result()

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a program inside."""
        return self.call(lambda: run(*command, text=text))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _enter(self) -> None:
        with Path("/run/netns", self.name).open() as file:
            result = ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET)
        assert result == 0, os.strerror(ctypes.get_errno())


class Echo:
    """Echo servers on sockets of any namespace, all in one thread."""

    def __init__(self) -> None:
        """Start without servers."""
        self._selector = selectors.DefaultSelector()
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def add(self, listener: socket.socket) -> None:
        """Serve a TCP listener or a bound UDP socket."""
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._selector.register(listener, selectors.EVENT_READ)

    def close(self) -> None:
        """End the thread and close every socket."""
        self._ended = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _serve(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.05):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    self._answer(key.fileobj)
                except OSError:
                    self._drop(key.fileobj)

    def _answer(self, sock: socket.socket) -> None:
        if sock.type is socket.SOCK_DGRAM:
            data, peer = sock.recvfrom(2048)
            sock.sendto(data, peer)
        elif sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.add(sock.accept()[0])
        elif data := sock.recv(2048):
            sock.sendall(data)
        else:
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        if sock.type is socket.SOCK_STREAM:
            self._selector.unregister(sock)
            sock.close()


def family(address: str) -> socket.AddressFamily:
    """Return the socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@dataclass(frozen=True)
class Pod:
    """A pod of the node by its number: names and addresses follow from it."""

    number: int

    @property
    def name(self) -> str:
        """The pod's name."""
        return f"p{self.number}"

    @property
    def ip4(self) -> str:
        """The pod's IPv4 address."""
        return f"10.2.0.{self.number}"

    @property
    def ip6(self) -> str:
        """The pod's IPv6 address."""
        return f"fd00:2::{self.number}"

    @property
    def mac(self) -> str:
        """The pod's MAC address."""
        return f"02:00:00:00:02:{self.number:02x}"

    @property
    def port(self) -> str:
        """The node's end of the pod's veth pair."""
        return f"veth{self.number}"


class Lab:
    """One node with pods, and an outside host that also owns a pod of another node."""

    def __init__(self, wire: Wire, pods: int = 3) -> None:
        """Describe a lab; ``with`` builds it."""
        self.wire = wire
        self.pods = [Pod(number) for number in range(1, pods + 1)]
        self.options = LowerOptions()
        self.have = Ruleset()
        self.kernel = NftKernel()
        self._prefix = f"npdlab-{os.getpid()}-{next(_labs)}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Build the namespaces and the links between them."""
        names = [NODE, OUTSIDE, *(pod.name for pod in self.pods)]
        self._stack.callback(self._delete, names)
        run("ip", "-batch", "-", text="".join(f"netns add {self._prefix}-{n}\n" for n in names))
        self.spaces = {name: Namespace(f"{self._prefix}-{name}") for name in names}
        for space in self.spaces.values():
            self._stack.callback(space.close)
            space.call(_skip_duplicate_detection)
        self.show_packets(self.way)
        self.echo = Echo()
        self._stack.callback(self.echo.close)
        self._build()
        for name in (OUTSIDE, *(pod.name for pod in self.pods)):
            wait_until(lambda name=name: self._is_up(name))  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        """Delete everything."""
        self._stack.close()

    @property
    def node(self) -> Namespace:
        """The node's namespace."""
        return self.spaces[NODE]

    @property
    def way(self) -> SameNode:
        """How a bridge of this lab shows its packets."""
        return SameNode.TURN if self.wire is Wire.TURNED else SameNode.NF_CALL

    def show_packets(self, way: SameNode, forwarding: Sequence[str] = ()) -> None:
        """Go on with links that make bridges show their packets in this way."""
        self.links = self.node.call(NodeLinks, way, forwarding)
        self._stack.callback(self.links.close)

    def sync(self, compiled: CompiledPolicy) -> Plan:
        """Do what the daemon does at each change, inside the node."""
        return self.node.call(self._sync, compiled)

    def wiring(self, compiled: CompiledPolicy) -> Wiring:
        """Return how the pods are connected."""
        return self.node.call(self.links.connect, compiled)

    def restart(self) -> None:
        """Forget what the kernel holds and read it, as a restarted daemon does."""
        self.have = self.node.call(lambda: self.kernel.read(TABLES))

    def _is_up(self, name: str) -> bool:
        """Whether a link carries packets: a bridge takes a moment to notice that a port is up."""
        return self.probe(name, "192.168.7.1", 1) is Verdict.REFUSED

    def _sync(self, compiled: CompiledPolicy) -> Plan:
        wiring = self.links.connect(compiled)
        assert not wiring.problems, wiring.problems
        self.kernel.generation()
        planned = plan(self.have, compiled, wiring, self.options)
        for transaction in planned.transactions:
            self.kernel.apply(transaction)
        conntrack.forget(planned.forget)
        for transaction in planned.afterwards:
            self.kernel.apply(transaction)
        self.have = planned.want
        assert not (problems := self.links.confirm()), problems
        return planned

    def serve(self, place: str, port: int, address: str = "::") -> None:
        """Serve TCP and UDP echo on a port of a namespace, IPv4 and IPv6."""
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            self.echo.add(self.spaces[place].call(_listen, address, port, kind))

    def rewire(self, pod: Pod) -> None:
        """Set both ends of a pod's new veth pair up, after an earlier one has gone."""
        self._batch(NODE, self.port_setup(pod))
        self._batch(pod.name, self._pod_setup(pod))

    def probe(
        self,
        place: str,
        address: str,
        port: int,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        source: str = "",
    ) -> Verdict:
        """Send one request from a namespace and say how it ended."""
        return self.spaces[place].call(_probe, address, port, kind, source)

    def connect(self, place: str, address: str, port: int, source: str = "") -> socket.socket:
        """Return a TCP connection that has carried an echo."""
        sock = self.spaces[place].call(_connect, address, port, socket.SOCK_STREAM, source)
        assert echoes(sock), "the connection does not carry anything"
        return sock

    def _delete(self, names: Iterable[str]) -> None:
        text = "".join(f"netns del {self._prefix}-{name}\n" for name in names)
        subprocess.run(
            ["ip", "-force", "-batch", "-"], input=text, capture_output=True, text=True, check=False
        )

    def _build(self) -> None:
        run("ip", "-batch", "-", text="".join(f"{line}\n" for line in self._links()))
        self.node.run("sysctl", "-qw", *_node_sysctls(self.wire))
        self._batch(NODE, self._node_setup())
        for pod in self.pods:
            self._batch(pod.name, self._pod_setup(pod))
        self._batch(OUTSIDE, self._outside_setup())

    def _batch(self, name: str, lines: Iterable[str]) -> None:
        self.spaces[name].run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))

    def _links(self) -> Iterable[str]:
        node = f"{self._prefix}-{NODE}"
        outside = f"{self._prefix}-{OUTSIDE}"
        yield f"link add up0 netns {node} type veth peer name eth0 netns {outside}"
        for pod in self.pods:
            there = f"{self._prefix}-{pod.name}"
            yield (
                f"link add {pod.port} address fe:ff:ff:ff:ff:{pod.number:02x} netns {node} "
                f"type veth peer name eth0 address {pod.mac} netns {there}"
            )

    def _node_setup(self) -> Iterable[str]:
        yield from ("link set lo up", "link set up0 up")
        yield from ("addr add 192.168.7.1/24 dev up0", "addr add fd00:7::1/64 dev up0 nodad")
        yield from ("route add default via 192.168.7.2", "route add default via fd00:7::2")
        if self.wire.has_bridge:
            yield "link add br0 address fe:00:00:00:00:01 type bridge"
            yield "link set br0 up"
            yield from ("addr add 10.2.0.254/24 dev br0", "addr add fd00:2::fe/64 dev br0 nodad")
        for pod in self.pods:
            yield from self.port_setup(pod)

    def port_setup(self, pod: Pod) -> Iterable[str]:
        """Yield what wires a pod to its node."""
        device = pod.port
        if self.wire.has_bridge:
            yield f"link set {device} master br0 up"
            device = "br0"
        else:
            yield f"link set {device} up"
            yield from (
                f"route add {pod.ip4}/32 dev {device}",
                f"route add {pod.ip6}/128 dev {device}",
            )
        yield f"neigh replace {pod.ip4} lladdr {pod.mac} dev {device} nud permanent"
        yield f"neigh replace {pod.ip6} lladdr {pod.mac} dev {device} nud permanent"

    def _pod_setup(self, pod: Pod) -> Iterable[str]:
        yield from ("link set lo up", "link set eth0 up")
        if self.wire.has_bridge:
            yield f"addr add {pod.ip4}/24 dev eth0"
            yield f"addr add {pod.ip6}/64 dev eth0 nodad"
            yield from ("route add default via 10.2.0.254", "route add default via fd00:2::fe")
            return
        gateway = f"fe:ff:ff:ff:ff:{pod.number:02x}"
        yield f"addr add {pod.ip4}/32 dev eth0"
        yield f"addr add {pod.ip6}/128 dev eth0 nodad"
        yield from ("route add 169.254.1.1 dev eth0", "route add fd00:2::ffff dev eth0")
        yield f"neigh replace 169.254.1.1 lladdr {gateway} dev eth0 nud permanent"
        yield f"neigh replace fd00:2::ffff lladdr {gateway} dev eth0 nud permanent"
        yield from ("route add default via 169.254.1.1", "route add default via fd00:2::ffff")

    def _outside_setup(self) -> Iterable[str]:
        yield from ("link set lo up", "link set eth0 up")
        yield from ("addr add 192.168.7.2/24 dev eth0", "addr add fd00:7::2/64 dev eth0 nodad")
        for address in OUTSIDE_ADDRESSES:
            yield f"addr add {address} dev lo" + (" nodad" if ":" in address else "")
        for net, gateway in (("10.2.0.0/24", "192.168.7.1"), ("10.96.0.0/16", "192.168.7.1")):
            yield f"route add {net} via {gateway} src 14.215.0.10"
        yield "route add fd00:2::/64 via fd00:7::1 src fd00:3::10"


def _skip_duplicate_detection() -> None:
    """Let IPv6 addresses be used at once: nobody else is in these namespaces."""
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad").write_text("0")


def _node_sysctls(wire: Wire) -> list[str]:
    found = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
    if wire.has_bridge:
        calls = ("iptables", "ip6tables", "arptables")
        found += [f"net.bridge.bridge-nf-call-{call}=0" for call in calls]
    return found


def _listen(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(family(address), kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind is socket.SOCK_STREAM:
        sock.listen(64)
    return sock


def _connect(address: str, port: int, kind: socket.SocketKind, source: str) -> socket.socket:
    sock = socket.socket(family(address), kind)
    sock.settimeout(SILENCE_SECONDS)
    try:
        if source:
            sock.bind((source, 0))
        sock.connect(socket.getaddrinfo(address, port, type=kind)[0][4])
    except OSError:
        sock.close()
        raise
    return sock


def _probe(address: str, port: int, kind: socket.SocketKind, source: str) -> Verdict:
    try:
        with _connect(address, port, kind, source) as sock:
            sock.sendall(b"hello")
            return Verdict.OPEN if sock.recv(2048) == b"hello" else Verdict.REFUSED
    except TimeoutError:
        return Verdict.DROPPED
    except (ConnectionRefusedError, ConnectionResetError):
        return Verdict.REFUSED
    except OSError as error:
        if error.errno in {errno.EHOSTUNREACH, errno.EACCES, errno.ENETUNREACH}:
            return Verdict.REJECTED
        raise


def echoes(sock: socket.socket) -> bool:
    """Whether a connection carries a message there and back."""
    message = os.urandom(8)
    try:
        sock.sendall(message)
        return sock.recv(2048) == message
    except OSError:
        return False
