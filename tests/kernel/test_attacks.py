"""A table of attacks: each works where nothing is enforced, and none where we enforce.

The attacks of one wiring are all tried twice, first without our tables (the control: a mark that
does not arrive then would prove nothing), then with them.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from enforcer.policy.compiled import CompiledPolicy
from tests.kernel import frames
from tests.kernel.attacks import (
    ATTACKER,
    ATTACKS,
    FRIEND,
    INSIDE,
    ON_NODE,
    OTHER_NODE,
    OVERLAY_MAC,
    OVERLAY_PEER,
    VICTIM,
    VICTIMS_PORT,
    Attack,
    Scene,
)
from tests.kernel.netlab import OUTSIDE, Lab, Namespace, Wire, wait_until
from tests.kernel.policies import compiled, ingress, peers

pytestmark = pytest.mark.kernel

ETH_P_ALL: Final = 3
CONTROL_SECONDS: Final = 5.0
TRIES: Final = [
    pytest.param(attack, wire, version, id=f"{attack.name}-{wire.value}-ipv{version}")
    for attack in ATTACKS
    for wire in Wire
    if wire in attack.wires
    for version in attack.versions
]


@dataclass
class Heard:
    """The marks that arrived at a place."""

    raw: socket.socket
    frames: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __contains__(self, mark: bytes) -> bool:
        """Whether a frame with this mark has arrived."""
        return any(mark in frame for frame in self.frames)

    def listen(self) -> None:
        """Keep every frame that arrives, until the end."""
        while not self.ended.is_set():
            try:
                frame, (_, _, kind, *_) = self.raw.recvfrom(4096)
            except TimeoutError:
                continue
            if kind != socket.PACKET_OUTGOING:
                self.frames.append(frame)


@contextmanager
def listening(space: Namespace) -> Iterator[Heard]:
    """Hear what arrives at a namespace's eth0."""
    raw = space.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind(("eth0", ETH_P_ALL))
    raw.settimeout(0.05)
    heard = Heard(raw)
    thread = threading.Thread(target=heard.listen)
    thread.start()
    try:
        yield heard
    finally:
        heard.ended.set()
        thread.join()
        raw.close()


@dataclass(frozen=True)
class Outcome:
    """Which tries arrived without and with us, by (attack's name, version)."""

    control: frozenset[tuple[str, int]]
    enforced: frozenset[tuple[str, int]]


@pytest.fixture(scope="module")
def outcomes() -> dict[Wire, Outcome]:
    """Return what has been tried on each wiring so far."""
    return {}


def _outcome(wire: Wire, outcomes: dict[Wire, Outcome]) -> Outcome:
    if wire not in outcomes:
        with Lab(wire) as lab:
            _prepare(lab)
            control = _try_all(lab, patience=CONTROL_SECONDS)
            _forget(lab)
            policy = _policy(lab)
            lab.sync(policy)
            lab.sync(policy)
            outcomes[wire] = Outcome(control, _try_all(lab, patience=0))
    return outcomes[wire]


@pytest.mark.parametrize(("attack", "wire", "version"), TRIES)
def test_an_attack_works_without_us_and_fails_with_us(
    attack: Attack, wire: Wire, version: int, outcomes: dict[Wire, Outcome]
) -> None:
    """What a pod forges arrives where nothing is enforced, and nowhere where we enforce."""
    outcome = _outcome(wire, outcomes)
    tried = attack.name, version

    assert tried not in outcome.enforced
    assert (tried in outcome.control) is ((wire, version) not in attack.stopped)


def _policy(lab: Lab) -> CompiledPolicy:
    """Return the policy: the victim hears pod 3, an outside peer, the node, the overlay."""
    others = [each[version] for each in (INSIDE, ON_NODE, OVERLAY_PEER) for version in (4, 6)]
    policy = compiled(lab.pods, {VICTIM.number: [ingress(peers(FRIEND, *others))]})
    nodes = map(ipaddress.ip_address, OTHER_NODE.values())
    return replace(policy, node_addresses=policy.node_addresses | frozenset(nodes))


def _prepare(lab: Lab) -> None:
    """Add an overlay device to the node, and servers for the victim's own connections."""
    lab.node.run(
        "ip",
        "-batch",
        "-",
        text=f"""
        link add vx0 address {OVERLAY_MAC} type vxlan id 42 dstport 4789 local {ON_NODE[4]}
        link set vx0 up
        addr add 10.5.0.1/16 dev vx0
        addr add fd00:5::1/64 dev vx0 nodad
        """,
    )
    for name in ("all", "eth0"):
        lab.spaces[VICTIM.name].run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    lab.serve(OUTSIDE, 80)
    lab.serve(VICTIM.name, 80)


def _forget(lab: Lab) -> None:
    """Undo what the control has done to caches: neighbours, and the bridge's addresses."""
    for pod in lab.pods:
        lab.spaces[pod.name].run("ip", "neigh", "flush", "all", "nud", "reachable")
        lab.spaces[pod.name].run("ip", "neigh", "flush", "all", "nud", "stale")
    lab.node.run("conntrack", "-F")
    for pod in reversed(lab.pods):
        lab.probe(pod.name, ON_NODE[4], 1)


def _try_all(lab: Lab, patience: float) -> frozenset[tuple[str, int]]:
    """Send every attack of this wiring, and return those whose mark arrived."""
    tries = {
        (attack.name, version): (attack, Scene(lab.wire, version, _mark(attack, version, patience)))
        for attack in ATTACKS
        if lab.wire in attack.wires
        for version in attack.versions
    }
    with listening(lab.spaces[VICTIM.name]) as victim, listening(lab.spaces[OUTSIDE]) as outside:
        heard = {VICTIM.name: victim, OUTSIDE: outside}
        for version in (4, 6):
            _speak_out(lab, version)
        for attack, scene in tries.values():
            lab.spaces[ATTACKER.name].call(frames.send_frames, "eth0", attack.build(scene))
        _settle(lab, heard)
        end = time.monotonic() + patience

        def arrived() -> frozenset[tuple[str, int]]:
            return frozenset(
                key for key, (attack, scene) in tries.items() if scene.mark in heard[attack.place]
            )

        while len(arrived()) < len(tries) and time.monotonic() < end:
            time.sleep(0.05)
        return arrived()


def _mark(attack: Attack, version: int, patience: float) -> bytes:
    return f"<{attack.name}/{version}/{bool(patience)}>".encode()


def _speak_out(lab: Lab, version: int) -> None:
    """Let the victim make the connection that forged errors are about."""
    kind = socket.AF_INET if version == 4 else socket.AF_INET6
    with lab.spaces[VICTIM.name].call(socket.socket, kind, socket.SOCK_DGRAM) as sock:
        sock.bind(("", VICTIMS_PORT))
        sock.settimeout(5)
        sock.sendto(b"hello", (INSIDE[version], 80))
        assert sock.recv(100) == b"hello"


def _settle(lab: Lab, heard: dict[str, Heard]) -> None:
    """Wait until what was sent after the attacks has arrived everywhere."""
    friend = lab.spaces[FRIEND.name]
    targets = {VICTIM.name: VICTIM.ip4, OUTSIDE: INSIDE[4]}
    with friend.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def seen(place: str) -> bool:
            sock.sendto(b"<settled>", (targets[place], 9999))
            return b"<settled>" in heard[place]

        for place in targets:
            wait_until(lambda place=place: seen(place))  # type: ignore[misc]
