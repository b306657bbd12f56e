"""Whatever follows whatever: the kernel takes each change and holds what was wanted."""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import Iterator

import pytest

from enforcer.model.net import Direction, IPNetwork, PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import Ruleset
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.names import TABLES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import Planner
from enforcer.wiring import BridgePort, PodBridge, SameNode, Wiring
from tests.kernel.netlab import Namespace, run

pytestmark = pytest.mark.kernel

STEPS = 40
PROTOCOLS = list(Protocol)


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdrandom-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_holds_what_was_wanted(space: Namespace, seed: int) -> None:
    """No step of a long random history is refused, and reading back gives what was written."""
    draw = random.Random(seed)
    kernel = NftKernel()
    planner = Planner(LowerOptions())

    def walk() -> None:
        have = Ruleset()
        for _ in range(STEPS):
            kernel.generation()
            planned = planner.plan(have, compiled(draw), wiring(draw))
            for transaction in planned.transactions:
                kernel.apply(transaction)
            have = kernel.read(TABLES)
            assert have == planned.want

    space.call(walk)


def compiled(draw: random.Random) -> CompiledPolicy:
    """Return a policy with a few of five possible classes in each direction."""
    classes = {
        direction: [policy_class(draw, direction, number) for number in range(5)]
        for direction in Direction
    }
    pods = [
        LocalPod(
            Key("ns", f"p{number}"),
            (ipaddress.ip_address(f"10.2.0.{number}"), ipaddress.ip_address(f"fd00:2::{number}")),
            draw.choice([None, *classes[Direction.INGRESS]]),
            draw.choice([None, *classes[Direction.EGRESS]]),
        )
        for number in draw.sample(range(1, 20), draw.randrange(12))
    ]
    networks = draw.sample([network(draw) for _ in range(3)], draw.randrange(3))
    return CompiledPolicy("node", tuple(pods), tuple(networks), frozenset())


def policy_class(draw: random.Random, direction: Direction, number: int) -> PolicyClass:
    """Return a class whose contents differ each time and whose name does not."""
    allowed = Allowed(
        everything=draw.random() < 0.1,
        peers=frozenset(address(draw) for _ in some(draw)),
        peer_ports=frozenset(
            (address(draw), draw.choice(PROTOCOLS), draw.randrange(1, 5)) for _ in some(draw)
        ),
        ports=frozenset(
            PortRange(protocol, first, first + draw.randrange(3))
            for protocol in draw.sample(PROTOCOLS, draw.randrange(3))
            for first in (1, 10, 20)
        ),
        networks=frozenset(collapsed([network(draw) for _ in some(draw)])),
        network_ports=frozenset((network(draw), port_range(draw)) for _ in some(draw)),
    )
    return PolicyClass(direction, (Key("ns", f"np{number}"),), allowed)


def some(draw: random.Random) -> range:
    """Return a number of rounds: often none, sometimes dozens."""
    return range(draw.choice([0, 0, 1, 3, 40]))


def address(draw: random.Random) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address out of few."""
    return ipaddress.ip_address(draw.choice(["10.3.0.", "fd00:3::"]) + str(draw.randrange(60)))


def network(draw: random.Random) -> IPNetwork:
    """Return a network out of many that touch and contain each other."""
    if draw.random() < 0.5:
        base = (
            f"10.{draw.randrange(4)}.{draw.randrange(4)}.0/{draw.choice([8, 15, 16, 24, 25, 32])}"
        )
    else:
        base = f"fd00:{draw.randrange(4)}::/{draw.choice([16, 31, 32, 64, 128])}"
    return ipaddress.ip_network(base, strict=False)


def collapsed(networks: list[IPNetwork]) -> Iterator[IPNetwork]:
    """Yield networks of which none overlaps another, as the contract promises."""
    for version in (4, 6):
        same = [item for item in networks if item.version == version]
        yield from ipaddress.collapse_addresses(same)  # type: ignore[type-var]


def port_range(draw: random.Random) -> PortRange:
    """Return a range out of many that overlap."""
    first = draw.choice([1, 80, 8080])
    return PortRange(draw.choice(PROTOCOLS), first, draw.choice([first, first + 7, 65535]))


def wiring(draw: random.Random) -> Wiring:
    """Return a routed or a bridged node."""
    if draw.random() < 0.3:
        return Wiring(frozenset({"veth1", "veth2"}))
    seen = ipaddress.ip_address(f"10.2.0.{draw.randrange(1, 20)}")
    ports = (BridgePort("veth1", frozenset({seen}), "02:00:00:00:02:01"), BridgePort("veth2"))
    way = draw.choice([SameNode.NF_CALL, SameNode.TURN])
    bridge = PodBridge("br0", ports, mac="fe:00:00:00:00:01", way=way)
    return Wiring(frozenset({"br0"}), (bridge,), foreign_ports=frozenset({"veth7"}))
