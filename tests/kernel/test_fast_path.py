from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from enforcer.links import NodeLinks
from enforcer.nft.diff import STAND_IN
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import TableId
from enforcer.node import NodeTables
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import IPV4, IPV6, TABLES
from enforcer.wiring import Wiring
from tests.kernel.netlab import OUTSIDE, Lab, Verdict, echoes, wait_until
from tests.kernel.offloading import (
    INSIDE,
    QUEUED,
    Counter,
    Flood,
    Stream,
    connect_offloaded,
    fast_lab,
    is_offloaded,
)
from tests.kernel.policies import compiled, ingress, peers

pytestmark = [pytest.mark.kernel, pytest.mark.optional("@flowtables")]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Return a node with the fast path on, under load."""
    with fast_lab() as built:
        yield built


def test_an_established_connection_takes_the_short_cut(lab: Lab) -> None:
    """A judged connection goes past all rules, to pods and away from the node."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))

    with connect_offloaded(lab, "p1", two.ip4) as near, connect_offloaded(lab, "p1", INSIDE) as far:
        packets = _forwarded(lab)
        for _ in range(20):
            assert echoes(near)
            assert echoes(far)
        assert _forwarded(lab) - packets < 20


@pytest.mark.parametrize("address", ["ip4", "ip6"])
def test_a_tightened_policy_takes_connections_back(lab: Lab, address: str) -> None:
    """What a policy forbids is cut at the next packet, however it went; the rest goes on."""
    one, two, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    with (
        connect_offloaded(lab, "p1", getattr(two, address)) as cut,
        connect_offloaded(lab, "p3", getattr(two, address)) as kept,
    ):
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

        assert not echoes(cut)
        assert echoes(kept)
        wait_until(lambda: echoes(kept) and is_offloaded(lab, kept))


@pytest.mark.parametrize("address", ["ip4", "ip6"])
def test_no_datagram_slips_by_a_revocation(lab: Lab, address: str) -> None:
    """Under a flood none arrives that was sent after the policy was tightened, time and again."""
    one, two, _ = lab.pods
    allowed = compiled(lab.pods, {2: [ingress(peers(one))]})
    denied = compiled(lab.pods, {2: [ingress()]})
    with Flood(lab, getattr(two, address)) as flood:
        for _ in range(3):
            lab.sync(allowed)
            wait_until(lambda: flood.arrives() and is_offloaded(lab, flood.socket))

            lab.sync(denied)

            # What was on its way when the transaction was made is in the receiver's queue now.
            lab.node.run("sleep", "0.05")
            assert flood.drain() < QUEUED
            assert not flood.arrives()


@pytest.mark.parametrize("address", ["ip4", "ip6"])
def test_no_segment_slips_by_a_revocation(lab: Lab, address: str) -> None:
    """Of a connection that carries all it can nothing arrives once the policy was tightened."""
    one, two, three = lab.pods
    allowed = compiled(lab.pods, {2: [ingress(peers(one, three))]})
    denied = compiled(lab.pods, {2: [ingress(peers(three))]})
    counter = Counter(lab, "p2", getattr(one, address))
    for port in (7000, 7001, 7002):
        lab.sync(allowed)
        with Stream(lab, getattr(two, address), port) as stream:
            wait_until(lambda stream=stream: is_offloaded(lab, stream.client))  # type: ignore[misc]
            lab.sync(denied)
            lab.node.run("sleep", "0.05")  # what was on its way has arrived
            before = counter.packets()

            for _ in range(5):
                assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN
            assert counter.packets() == before


def test_a_pods_address_takes_no_short_cut_along(lab: Lab) -> None:
    """The next pod with an address does not inherit the connections of the one that went."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with connect_offloaded(lab, "p1", two.ip4) as sock:
        lab.sync(compiled([pod for pod in lab.pods if pod != two]))

        assert not echoes(sock)


def test_interfaces_join_and_leave(lab: Lab) -> None:
    """The short cut's interfaces are those of now; an interface that goes takes nothing along."""
    one, two, three = lab.pods
    policy = compiled(lab.pods, {2: [ingress(peers(one))]})
    lab.sync(policy)
    assert {"veth1", "veth2", "veth3", "up0"} == _devices(lab)

    with connect_offloaded(lab, "p1", two.ip4) as sock:
        lab.node.run("ip", "link", "del", f"veth{three.number}")
        lab.restart()
        lab.sync(policy)

        assert {"veth1", "veth2", "up0"} == _devices(lab)
        assert echoes(sock)


def test_an_interface_that_cannot_join_spoils_nothing(lab: Lab) -> None:
    """The rules are in the kernel, without a short cut, where an interface is not to be had."""
    one, two, three = lab.pods
    tables = lab.node.call(NodeTables, NftKernel(), lab.options, _Ghost(lab.links))

    lab.node.call(tables.sync, compiled(lab.pods, {2: [ingress(peers(one))]}))

    assert _devices(lab) == set()
    assert lab.probe("p1", two.ip4, 80) is Verdict.OPEN
    assert lab.probe(three.name, two.ip4, 80) is Verdict.DROPPED


@pytest.mark.parametrize(("address", "table"), [("ip4", IPV4), ("ip6", IPV6)])
def test_a_table_made_anew_keeps_its_short_cut(lab: Lab, address: str, table: TableId) -> None:
    """Nothing slips by while it is replaced; what is still allowed takes the short cut again."""
    one, two, three = (getattr(pod, address) for pod in lab.pods)
    allowed = compiled(lab.pods, {1: [ingress(peers(three))], 2: [ingress(peers(three))]})
    tightened = compiled(lab.pods, {1: [ingress()], 2: [ingress(peers(three))]})
    tables = NodeTables(NftKernel(), lab.options, lab.links)
    lab.node.call(tables.sync, allowed)
    denied = Counter(lab, "p2", one)

    with (
        Flood(lab, two),
        connect_offloaded(lab, "p3", two) as kept,
        connect_offloaded(lab, "p3", one) as other,
    ):
        for policy, stays in ((allowed, True), (tightened, False)):
            lab.node.run("nft", f"add set {table} of_others {{ type mark; }}")

            assert lab.node.call(tables.sync, policy).repaired

            assert echoes(other) is stays
            wait_until(lambda: echoes(kept) and is_offloaded(lab, kept))

    listed = lab.node.run("nft", "list", "ruleset")
    assert "of_others" not in listed
    assert STAND_IN not in listed
    assert _devices(lab) == {"veth1", "veth2", "veth3", "up0"}
    assert denied.packets() == 0


def _forwarded(lab: Lab) -> int:
    """Return how many packets to port 80 a chain behind ours has seen since it was made."""
    known = lab.node.run("nft", "list", "tables").splitlines()
    if "table inet seen" not in known:
        lab.node.run(
            "nft",
            "add table inet seen; "
            "add chain inet seen f { type filter hook forward priority 10; };"
            "add rule inet seen f tcp dport 80 counter",
        )
    words = lab.node.run("nft", "list", "chain", "inet", "seen", "f").split()
    return int(words[words.index("packets") + 1])


def _devices(lab: Lab) -> set[str]:
    tables = lab.node.call(lambda: NftKernel().read(TABLES))
    return {device for item in tables.tables[IPV4].flowtables.values() for device in item.devices}


class _Ghost:
    """Links of which one has gone since it was looked at."""

    def __init__(self, links: NodeLinks) -> None:
        self._links = links

    def connect(self, policy: CompiledPolicy) -> Wiring:
        wiring = self._links.connect(policy)
        return replace(wiring, fast=wiring.fast | {"ghost0"})

    def confirm(self) -> Mapping[str, str]:
        return self._links.confirm()

    def changed(self) -> bool:
        return self._links.changed()
