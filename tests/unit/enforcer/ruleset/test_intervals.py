"""Networks with ports are cut so that no two elements overlap."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.model.net import IPNetwork, PortRange, Protocol
from enforcer.ruleset.intervals import disjoint

TCP, UDP = Protocol.TCP, Protocol.UDP
Pair = tuple[IPNetwork, PortRange]


def pair(network: str, protocol: Protocol, first: int, last: int) -> Pair:
    """Return a network with ports."""
    return ip_network(network), PortRange(protocol, first, last)


def test_what_does_not_overlap_stays_as_it_is() -> None:
    """A single rule is a single element."""
    pairs = {pair("10.0.0.0/8", TCP, 80, 90), pair("10.1.0.0/16", UDP, 80, 80)}

    assert disjoint(pairs) == pairs


def test_an_overlap_is_cut_along_the_ports() -> None:
    """The smaller network keeps the ports that the larger one does not cover."""
    pairs = {pair("10.0.0.0/8", TCP, 80, 80), pair("10.1.0.0/16", TCP, 80, 90)}

    assert disjoint(pairs) == {
        pair("10.0.0.0/8", TCP, 80, 80),
        pair("10.1.0.0/16", TCP, 81, 90),
    }


networks = st.builds(
    lambda third, length: ip_network(f"10.0.{third}.0/{length}", strict=False),
    st.integers(0, 7),
    st.integers(20, 26),
)
port_pairs = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted)
pairs_strategy = st.sets(
    st.builds(
        lambda net, ports, protocol: (net, PortRange(protocol, *ports)),
        networks,
        port_pairs,
        st.sampled_from([TCP, UDP]),
    ),
    max_size=8,
)


@settings(deadline=None)  # machines are busy
@given(pairs_strategy)
def test_the_same_is_covered_and_only_once(pairs: set[Pair]) -> None:
    """Cutting neither allows nor forbids anything, and no two elements overlap."""
    cut = disjoint(pairs)

    for third in range(8):
        for last in (0, 70, 130, 200):
            address = ip_address(f"10.0.{third}.{last}")
            for port in range(13):
                for protocol in (TCP, UDP):
                    before = sum(_covers(item, address, protocol, port) for item in pairs)
                    after = sum(_covers(item, address, protocol, port) for item in cut)
                    assert after == min(before, 1)


def _covers(item: Pair, address: object, protocol: Protocol, port: int) -> bool:
    network, ports = item
    return address in network and ports.protocol is protocol and ports.first <= port <= ports.last
