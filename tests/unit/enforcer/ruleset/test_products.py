"""Networks with ports as products: nothing more and nothing less is allowed by them."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.model.net import Direction, Family, PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.policy.compiled import Allowed, PolicyClass
from enforcer.ruleset.classes import ClassLowering, ClassObjects
from enforcer.ruleset.intervals import disjoint
from enforcer.ruleset.names import name_classes
from enforcer.ruleset.products import MOST, products

NETWORKS = [ip_network(f"10.{number}.0.0/16") for number in range(4)]
ADDRESSES = [ip_network(f"10.9.0.{number}/32") for number in range(3)]
PORTS = [PortRange(Protocol.TCP, 80, 80), PortRange(Protocol.TCP, 90, 99)]
PORTS += [PortRange(Protocol.UDP, 53, 53)]

PAIRS = st.frozensets(st.tuples(st.sampled_from(NETWORKS + ADDRESSES), st.sampled_from(PORTS)))


def lowered(*pairs: tuple[object, PortRange]) -> ClassObjects:
    """Return the objects of a class that allows some networks some ports."""
    allowed = Allowed(network_ports=frozenset(pairs))  # type: ignore[arg-type]
    item = PolicyClass(Direction.INGRESS, (Key("default", "some"),), allowed)
    (name,) = name_classes([item]).values()
    return ClassLowering(name, Family.IPV4, None).lower(item)


@settings(deadline=None)  # machines are busy
@given(PAIRS)
def test_products_hold_exactly_the_pairs(pairs: frozenset[tuple[object, PortRange]]) -> None:
    """Multiplied out again, products are the pairs they were made of, unless there are too many."""
    found = products(disjoint(pairs))  # type: ignore[arg-type]
    again = [pair for item in found for pair in product(item.networks, item.ports)]

    assert len(found) <= MOST
    assert not found or sorted(map(str, again)) == sorted(map(str, disjoint(pairs)))  # type: ignore[arg-type]


def test_networks_that_may_use_the_same_ports_are_one_product() -> None:
    """However many networks and ports there are, one rule allows them."""
    found = products(product(NETWORKS, PORTS[:2]))

    assert [(item.networks, item.ports) for item in found] == [
        (frozenset(NETWORKS), frozenset(PORTS[:2]))
    ]


def test_addresses_are_found_by_a_hash() -> None:
    """A pod more is one element more: addresses are not in a set of intervals, nor merged."""
    sets = lowered(*product(ADDRESSES, PORTS[1:2])).sets

    (peers,) = (item for item in sets if not item.interval)
    assert peers.elements == {"10.9.0.0", "10.9.0.1", "10.9.0.2"}


def test_a_set_of_ports_is_never_changed() -> None:
    """Other ports are other sets: no packet finds an old port and then a new network."""
    before = lowered((NETWORKS[0], PORTS[0])).sets
    after = lowered((NETWORKS[1], PORTS[1])).sets

    assert not {item.name for item in before} & {item.name for item in after}


def test_too_many_products_are_looked_up_together() -> None:
    """Where every network has ports of its own, one set holds all pairs."""
    own = [
        (network, PortRange(Protocol.TCP, number, number))
        for number, network in enumerate(NETWORKS, start=80)
    ]
    (together,) = lowered(*own).sets

    assert len(together.elements) == len(own) > MOST
