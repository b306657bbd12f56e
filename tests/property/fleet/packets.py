"""Real packets between all places at once: UDP, TCP, SCTP and ICMP, new flows and old ones.

No probe waits for silence. Every packet is sent from one CPU, and the kernel hands packets from
namespace to namespace by that CPU's queue, first in, first out: once a packet of our own has gone
round that queue often enough, every probe before it has arrived or never will.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, product
from typing import Final

from tests.property.fleet.held import Held
from tests.property.fleet.sctp import Init, init, init_ack, is_init_ack, read_init
from tests.property.fleet.topology import PLACES, SLOTS, Fleet, Place

PORTS: Final = (80, 81, 90)
VERSIONS: Final = (4, 6)
ROUNDS: Final = 32
"""Times that a barrier goes there and back: more hops than a handshake and its look-ups have."""
PATIENCE: Final = 10.0
"""Seconds in which what is allowed has to arrive, be the machine as busy as it may."""

WARM_UPS: Final = 100

FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
ECHO: Final = {4: (8, 0), 6: (128, 129)}
ICMP_PROTOCOL: Final = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
TOKEN: Final = struct.Struct("!II")
ECHO_HEADER: Final = struct.Struct("!BBHHH")
FIRST_SCTP_PORT: Final = 20000
SCTP_PORTS: Final = 40000


class Way(enum.Enum):
    """What is sent; the value is the protocol as policies name it, and for whom it is new."""

    TCP = ("TCP", "new")
    UDP = ("UDP", "new")
    OLD_UDP = ("UDP", "old")
    SCTP = ("SCTP", "new")
    ICMP = ("ICMP", "new")

    @property
    def protocol(self) -> str:
        """The protocol as the oracle knows it."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: may ``source`` reach ``target``? By its Service's address where ``front``."""

    source: Place
    target: Place
    version: int
    way: Way
    port: int = 0
    front: bool = False

    @property
    def address(self) -> str:
        """The address that is asked for."""
        return self.target.front(self.version) if self.front else self.target.address(self.version)

    def __str__(self) -> str:
        """Return it as a line for a person."""
        port = f":{self.port}" if self.port else ""
        way = f"{self.way.value[1]} {self.way.protocol}"
        return f"{self.source.name} -> {self.target.name} [{self.address}]{port} ({way})"


def all_probes() -> tuple[Probe, ...]:
    """Return every pair, family, protocol and port; pods' Services on one port."""
    found: list[Probe] = []
    for source, target, version in product(PLACES, PLACES, VERSIONS):
        if source == target or not (source.is_slot or target.is_slot):
            continue
        ways = [way for way in Way if way is not Way.ICMP]
        found += [Probe(source, target, version, way, port) for way in ways for port in PORTS]
        found.append(Probe(source, target, version, Way.ICMP))
    for source, target, version in product(SLOTS, SLOTS, VERSIONS):
        for way in (Way.TCP, Way.UDP, Way.OLD_UDP):
            found.append(Probe(source, target, version, way, PORTS[0], front=True))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a round showed: which probes (by index) were answered, and whose request arrived."""

    answered: frozenset[int]
    arrived: frozenset[int]


class Prober:
    """The sockets of every place."""

    def __init__(self, fleet: Fleet, probes: Iterable[Probe]) -> None:
        """Open them; everything stays on the CPU that we are pinned to."""
        self.probes = tuple(probes)
        self._fleet = fleet
        self._stack = contextlib.ExitStack()
        self._rounds = count(1)
        self._round = 0
        self._barrier = _Barrier(fleet, self._stack)
        self._udp: dict[tuple[str, int, int], socket.socket] = {}
        self._tcp: dict[tuple[str, int, int], socket.socket] = {}
        self._raw: dict[tuple[str, int, str], socket.socket] = {}
        self._old: dict[tuple[str, int], socket.socket] = {}
        self._sctp_ports = count()
        for place, version in product(PLACES, VERSIONS):
            self._fleet.spaces[place.space].call(self._open, place, version)
        self.held = Held(self._barrier.wait)

    def close(self) -> None:
        """Close everything."""
        self.held.close()
        for made in self._old.values():
            made.close()
        self._stack.close()

    def warm_up(self) -> None:
        """Go on until everybody reaches everybody: without an enforcer, all has to be open."""
        everything = range(len(self.probes))
        self.begin()
        silent = list(everything)
        for _ in range(WARM_UPS):
            answered = self.fire(()).answered
            silent = [index for index in everything if index not in answered]
            if not silent:
                return
            time.sleep(0.1)
        names = [str(self.probes[index]) for index in silent]
        raise AssertionError(f"not open without an enforcer: {names}")

    def begin(self) -> None:
        """Forget old flows: what follows has nothing to do with what was."""
        self.held.close()
        for place, version in product(PLACES, VERSIONS):
            if (place.name, version) in self._old:
                self._old.pop((place.name, version)).close()
            self._old[place.name, version] = self._client(place, version)

    def _open(self, place: Place, version: int) -> None:
        address = place.address(version)
        for port in PORTS:
            for kind, known in ((socket.SOCK_DGRAM, self._udp), (socket.SOCK_STREAM, self._tcp)):
                made = self._socket(version, kind, 0)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, port))
                if kind is socket.SOCK_STREAM:
                    made.listen(256)
                known[place.name, version, port] = made
        for name, number in (("SCTP", 132), ("ICMP", ICMP_PROTOCOL[version])):
            raw = self._socket(version, socket.SOCK_RAW, number)
            raw.bind((address, 0))
            self._raw[place.name, version, name] = raw

    def _socket(self, version: int, kind: socket.SocketKind, protocol: int) -> socket.socket:
        made = self._stack.enter_context(socket.socket(FAMILIES[version], kind, protocol))
        made.setblocking(False)  # noqa: FBT003  # the standard library's signature
        return made

    def _client(self, place: Place, version: int) -> socket.socket:
        """Return a UDP socket with a port of its own."""

        def make() -> socket.socket:
            made = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
            made.setblocking(False)  # noqa: FBT003
            made.bind((place.address(version), 0))
            return made

        return self._fleet.spaces[place.space].call(make)

    # --- a round ------------------------------------------------------------------------------

    def fire(self, expected: Collection[int]) -> Seen:
        """Send every probe; wait longer only where something expected is still missing."""
        self._round = next(self._rounds)
        volley = _Volley(self, self._round)
        with contextlib.ExitStack() as stack:
            clients = {
                (place.name, version): stack.enter_context(self._client(place, version))
                for place, version in product(PLACES, VERSIONS)
            }
            volley.send(clients)
            missing = set(expected)
            deadline = time.monotonic() + PATIENCE
            while True:
                self._barrier.wait()
                volley.serve()
                self._barrier.wait()
                volley.collect(clients)
                missing -= volley.answered
                if not missing or time.monotonic() > deadline:
                    break
                time.sleep(0.002)
        volley.end(expected)
        return Seen(frozenset(volley.answered), frozenset(volley.arrived))

    def next_sctp_port(self) -> int:
        """Return a client port that was not used for long."""
        return FIRST_SCTP_PORT + next(self._sctp_ports) % SCTP_PORTS


class _Volley:
    """One round: what was sent, what arrived, what was answered."""

    def __init__(self, prober: Prober, number: int) -> None:
        self._prober = prober
        self._number = number
        self._probes = prober.probes
        self.arrived: set[int] = set()
        self.answered: set[int] = set()
        self._connecting: dict[int, socket.socket] = {}
        self._associating: dict[tuple[str, int, int], int] = {}

    def send(self, clients: dict[tuple[str, int], socket.socket]) -> None:
        tcp: dict[str, list[tuple[int, Probe]]] = {}
        for index, probe in enumerate(self._probes):
            source = (probe.source.name, probe.version)
            token = TOKEN.pack(self._number, index)
            match probe.way:
                case Way.UDP:
                    _send(clients[source], token, probe.address, probe.port)
                case Way.OLD_UDP:
                    _send(self._prober._old[source], token, probe.address, probe.port)
                case Way.ICMP:
                    self._ping(probe, index, token)
                case Way.SCTP:
                    self._associate(probe, index)
                case Way.TCP:
                    tcp.setdefault(probe.source.space, []).append((index, probe))
        for space, probes in tcp.items():
            versions = [probe.version for _, probe in probes]
            made = self._prober._fleet.spaces[space].call(_stream_sockets, versions)
            for sock, (index, probe) in zip(made, probes, strict=True):
                self._connecting[index] = sock
                _connect(sock, probe)

    def _ping(self, probe: Probe, index: int, token: bytes) -> None:
        identifier = (self._number * len(PLACES) + PLACES.index(probe.source)) & 0xFFFF
        request = ECHO[probe.version][0]
        message = ECHO_HEADER.pack(request, 0, 0, identifier, index & 0xFFFF) + token
        if probe.version == 4:
            checksum = _internet_checksum(message)
            message = ECHO_HEADER.pack(request, 0, checksum, identifier, index & 0xFFFF) + token
        raw = self._prober._raw[probe.source.name, probe.version, "ICMP"]
        _send(raw, message, probe.address, 0)

    def _associate(self, probe: Probe, index: int) -> None:
        port = self._prober.next_sctp_port()
        self._associating[probe.source.name, probe.version, port] = index
        raw = self._prober._raw[probe.source.name, probe.version, "SCTP"]
        _send(raw, init(port, probe.port), probe.address, 0)

    def serve(self) -> None:
        """Answer what has arrived."""
        for sock in self._prober._udp.values():
            for data, peer in _received(sock):
                self.arrived.update(self._meant(data))
                with contextlib.suppress(OSError):
                    sock.sendto(data, peer)
        for (_, version, name), sock in self._prober._raw.items():
            if name == "SCTP":
                self._serve_sctp(sock, version)

    def _serve_sctp(self, sock: socket.socket, version: int) -> None:
        for data, peer in _received(sock):
            packet = _payload(data, version)
            found = read_init(packet)
            if isinstance(found, Init):
                self._arrived_sctp(found, peer[0], version)
                _send(sock, init_ack(found), peer[0], 0)
            elif is_init_ack(packet):
                self._associated(packet, sock, version)

    def _arrived_sctp(self, found: Init, address: str, version: int) -> None:
        place = _BY_ADDRESS.get(address)
        index = self._associating.get((place.name if place else "", version, found.client_port))
        if index is not None:
            self.arrived.add(index)

    def _associated(self, packet: bytes, sock: socket.socket, version: int) -> None:
        place = _BY_ADDRESS[sock.getsockname()[0]]
        port = struct.unpack_from("!H", packet, 2)[0]
        index = self._associating.get((place.name, version, port))
        if index is not None:
            self.answered.add(index)

    def collect(self, clients: dict[tuple[str, int], socket.socket]) -> None:
        """Take what has come back."""
        for sock in (*clients.values(), *self._prober._old.values()):
            for data, _ in _received(sock):
                self.answered.update(self._meant(data))
        for (_, version, name), sock in self._prober._raw.items():
            if name == "SCTP":
                self._serve_sctp(sock, version)
            else:
                self._collect_icmp(sock, version)
        for index, sock in self._connecting.items():
            if index not in self.answered and _is_connected(sock):
                self.answered.add(index)
                self.arrived.add(index)

    def _collect_icmp(self, sock: socket.socket, version: int) -> None:
        request, reply = ECHO[version]
        for data, _ in _received(sock):
            message = _payload(data, version)
            meant = self._meant(message[ECHO_HEADER.size :])
            if message[0] == request:
                self.arrived.update(meant)
            elif message[0] == reply:
                self.answered.update(meant)

    def _meant(self, token: bytes) -> list[int]:
        """Return the probe of this round that a token is of."""
        if len(token) != TOKEN.size:
            return []
        number, index = TOKEN.unpack(token)
        return [index] if number == self._number else []

    def end(self, expected: Collection[int]) -> None:
        """Hand connections over to be held, and hang up the others."""
        accepted = {
            (where, client): server
            for where, sock in self._prober._tcp.items()
            for client, server in _accepted(sock)
        }
        for index, sock in self._connecting.items():
            probe = self._probes[index]
            where = (probe.target.name, probe.version, probe.port)
            server = accepted.pop((where, sock.getsockname()[:2]), None)
            if server is not None and index in expected and self._prober.held.wants(index):
                self._prober.held.add(index, sock, server)
                continue
            for one in filter(None, (sock, server)):
                abort(one)
        for sock in accepted.values():
            abort(sock)


_BY_ADDRESS: Final = {place.address(version): place for place in PLACES for version in VERSIONS}


class _Barrier:
    """A packet that goes there and back through this CPU's queue."""

    def __init__(self, fleet: Fleet, stack: contextlib.ExitStack) -> None:
        # Two namespaces that are there anyway, but a path of its own without any rules.
        self._left, self._right = (
            stack.enter_context(fleet.spaces[name].call(_datagram_socket, address))
            for name, address in fleet.barrier
        )
        self._left.connect(self._right.getsockname())
        self._right.connect(self._left.getsockname())

    def wait(self) -> None:
        """Return when everything sent so far has arrived, or never will."""
        for _ in range(ROUNDS):
            self._left.send(b"?")
            self._right.recv(8)
            self._right.send(b"!")
            self._left.recv(8)


def _datagram_socket(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.bind((address, 0))
    return made


def _stream_sockets(versions: Iterable[int]) -> list[socket.socket]:
    found = []
    for version in versions:
        made = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
        made.setblocking(False)  # noqa: FBT003
        found.append(made)
    return found


def _connect(sock: socket.socket, probe: Probe) -> None:
    with contextlib.suppress(OSError):
        sock.bind((probe.source.address(probe.version), 0))
        sock.connect((probe.address, probe.port))


def _send(sock: socket.socket, data: bytes, address: str, port: int) -> None:
    with contextlib.suppress(OSError):  # a rejection of an earlier packet is told here
        sock.sendto(data, (address, port))


def _received(sock: socket.socket) -> Iterator[tuple[bytes, tuple[str, int]]]:
    while True:
        try:
            yield sock.recvfrom(2048)
        except BlockingIOError:
            return
        except OSError:
            continue  # told of a rejection


def _accepted(sock: socket.socket) -> Iterator[tuple[tuple[str, int], socket.socket]]:
    while True:
        try:
            made, peer = sock.accept()
        except BlockingIOError:
            return
        except OSError:
            continue
        made.setblocking(False)  # noqa: FBT003
        yield peer[:2], made


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def abort(sock: socket.socket) -> None:
    """Close a connection for good: nothing of it is ever sent again."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _payload(data: bytes, version: int) -> bytes:
    """Return what follows the IP header; raw sockets of IPv6 do not show it."""
    return data[(data[0] & 0xF) * 4 :] if version == 4 else data


def _internet_checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
