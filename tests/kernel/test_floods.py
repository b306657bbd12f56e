"""Packets pour in while the policy changes: none slips through that neither policy allows.

``NPD_FLOOD_CHANGES`` sets the number of changes; some thousands of them take minutes.
"""

from __future__ import annotations

import enum
import errno
import os
import random
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from enforcer.errors import KernelError
from enforcer.links import NodeLinks
from enforcer.model.net import Direction, Family, IPNetwork, PortRange
from enforcer.model.objects import Key
from enforcer.nft import netlink
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import AddSet, DeleteElements, Transaction
from enforcer.node import NodeTables
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.given import SHORTCUT
from enforcer.ruleset.names import FORMER, IPV4, IPV6, TABLES
from enforcer.ruleset.plan import Planner
from enforcer.ruleset.products import MOST as PRODUCTS
from enforcer.ruleset.room import LEAST, room_of
from tests.conftest import FUZZED
from tests.kernel import flood
from tests.kernel.flood import (
    ALLOWED_UDP,
    DENIED_TCP,
    DENIED_UDP,
    DeniedFlow,
    Stubborn,
    flooded,
    running,
)
from tests.kernel.netlab import Lab, Verdict, run, wait_until
from tests.kernel.policies import TCP, UDP, compiled, ingress, peer_ports, peers

pytestmark = pytest.mark.kernel

CHANGES = int(os.environ.get("NPD_FLOOD_CHANGES", "120"))
REPLACEMENTS = 12
CUTS, MANY_RANGES = 20, 1000

FORMERLY = f"""
delete table {IPV4}; delete table {IPV6};
add table {FORMER};
add chain {FORMER} forward {{ type filter hook forward priority -5; }};
add rule {FORMER} forward udp dport {DENIED_UDP} drop;
add rule {FORMER} forward tcp dport {DENIED_TCP} drop
"""

EVERY = 10
DROPPING = f"""
add table inet other
add chain inet other forward {{ type filter hook forward priority 0; }}
add rule inet other forward udp dport {ALLOWED_UDP} numgen inc mod {EVERY} 0 drop
"""

FEW = 100
"""Elements a transaction in a load that is split: dozens of transactions."""


def test_nothing_slips_through_a_thousand_changes(lab: Lab, pytestconfig: pytest.Config) -> None:
    """Whatever changes, denied packets never arrive and allowed ones always do."""
    draw = random.Random(7)
    links = lab.node.call(NodeLinks, lab.way)
    tables = NodeTables(NftKernel(), lab.options, links)
    lab.node.call(tables.sync, some_policy(lab, draw, 0))
    bumps = set()

    with flooded(lab) as (denied, allowed):
        for number in range(CHANGES):
            synced = lab.node.call(tables.sync, some_policy(lab, draw, number))
            bumps.add(synced.epochs[Family.IPV4])
        wait_until(lambda: allowed.seen.arrived > CHANGES // 4)
    links.close()
    pytestconfig.stash[FUZZED].append(
        f"{CHANGES} changes on a {lab.wire.value} node: {denied.seen.sent} denied packets sent, "
        f"{denied.seen.arrived} arrived; {allowed.seen.sent} allowed ones, "
        f"{allowed.seen.arrived} answered, {allowed.seen.swallowed} dropped; {len(bumps)} epochs"
    )

    assert len(bumps) > CHANGES // 3
    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0


def test_a_rule_that_drops_what_is_allowed_is_noticed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the floods say of allowed packets can be wrong: one that a rule drops is counted."""
    monkeypatch.setattr(flood, "PATIENCE_SECONDS", 0.2)
    lab.sync(compiled(lab.pods))

    with flooded(lab) as (_, allowed):
        lab.node.run("nft", "-f", "-", text=DROPPING)
        before = allowed.seen.sent
        wait_until(lambda: allowed.seen.sent > before + 2 * EVERY)

    assert allowed.seen.swallowed > 0


def test_nothing_slips_through_while_the_kernel_refuses(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused transaction, EBUSY and a lost answer: tried again from the truth, never open."""
    draw = random.Random(11)
    kernel, links = TroubledKernel(draw), lab.node.call(NodeLinks, lab.way)
    monkeypatch.setattr(netlink, "_await_commit", kernel.await_commit)
    tables = NodeTables(kernel, lab.options, links)
    last = some_policy(lab, draw, 0)
    lab.node.call(tables.sync, last)

    with flooded(lab) as (denied, allowed):
        for number in range(CHANGES // 3):
            kernel.trouble = draw.choice([None, *Trouble])
            last = some_policy(lab, draw, number)
            _until_accepted(lab, tables, last, kernel)

    found = [item for item in Trouble if any(item.value in text for text in kernel.refusals)]
    assert found == list(Trouble)
    kernel.trouble = None
    while lab.node.call(tables.disturbed):  # as the daemon asks every two seconds
        lab.node.call(tables.sync, last)
    tables.distrust()
    again = lab.node.call(tables.sync, last)
    assert (again.transactions, again.repaired) == (0, False)
    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0
    links.close()


def test_nothing_slips_through_while_tables_are_made_anew(lab: Lab) -> None:
    """A table of another version's layout has a stand-in until ours is there."""
    draw = random.Random(13)
    links = lab.node.call(NodeLinks, lab.way)
    tables = NodeTables(NftKernel(), lab.options, links)
    lab.node.call(tables.sync, some_policy(lab, draw, 0))

    with flooded(lab) as (denied, allowed):
        for number in range(REPLACEMENTS):
            table = draw.choice(list(lab.node.call(NftKernel().read, TABLES).tables))
            lab.node.run("nft", f"add set {table} of_others {{ type mark; }}")
            before = allowed.seen.arrived
            synced = lab.node.call(tables.sync, some_policy(lab, draw, number))
            assert synced.repaired
            wait_until(lambda before=before: allowed.seen.arrived > before)  # type: ignore[misc]
    links.close()

    assert "of_others" not in lab.node.run("nft", "list", "ruleset")
    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0


@pytest.mark.parametrize("form", ["networks", "network_ports"])
def test_who_loses_his_range_is_cut_however_fast_he_sends(lab: Lab, form: str) -> None:
    """No packet meets the new epoch together with ranges of the old policy."""
    links = lab.node.call(NodeLinks)
    tables = NodeTables(NftKernel(), lab.options, links)
    stubborn = Stubborn(lab.spaces["p1"], lab.spaces["p2"], lab.pods[1].ip4)
    kept = []

    with running(stubborn.send):
        for _ in range(CUTS):
            lab.node.call(tables.sync, _with_ranges(lab, form, "10.0.0.0/8"))
            wait_until(stubborn.arrives)
            lab.node.call(tables.sync, _with_ranges(lab, form))
            kept.append(stubborn.arrives())
    stubborn.close()
    links.close()

    assert not any(kept)


def _with_ranges(lab: Lab, form: str, *networks: str) -> CompiledPolicy:
    """Return a policy that allows some networks, and a hundred others, to send to p2."""
    others = (f"100.64.{number}.0/25" for number in range(100))
    blocks = frozenset(map(ip_network, (*networks, *others)))
    on_ports = {(net, PortRange(UDP, DENIED_UDP - 1, DENIED_UDP + 1)) for net in blocks}
    pairs = frozenset(on_ports | _so_many_that_they_are_no_product(0))
    allowed = Allowed(networks=blocks) if form == "networks" else Allowed(network_ports=pairs)
    return compiled(lab.pods, {2: [ingress(allowed)]})


def test_nothing_is_lost_while_ranges_are_cut_otherwise(lab: Lab) -> None:
    """A client that old and new ranges allow never meets a set in which neither is."""
    links = lab.node.call(NodeLinks)
    tables = NodeTables(NftKernel(), lab.options, links)
    lab.node.call(tables.sync, cut_ranges(lab, 0))

    with flooded(lab) as (denied, allowed):
        for number in range(CUTS):
            before = allowed.seen.sent
            lab.node.call(tables.sync, cut_ranges(lab, number))
            wait_until(lambda before=before: allowed.seen.sent > before)  # type: ignore[misc]
    links.close()

    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0


def cut_ranges(lab: Lab, number: int) -> CompiledPolicy:
    """Return ranges among a thousand in which p3 always is, each time with other ends."""
    three = ip_network(f"{lab.pods[2].ip4}/32")
    others = (ip_network((0x0A640000 + 256 * item, 24)) for item in range(MANY_RANGES))
    last = ALLOWED_UDP + 1 + number
    pairs = {(net, PortRange(UDP, ALLOWED_UDP - 1, last)) for net in (three, *others)}
    allowed = Allowed(network_ports=frozenset(pairs | _so_many_that_they_are_no_product(number)))
    return compiled(lab.pods, {2: [ingress(allowed)]})


def _so_many_that_they_are_no_product(number: int) -> set[tuple[IPNetwork, PortRange]]:
    return {
        (ip_network(f"192.0.2.{item}/32"), PortRange(UDP, 1 + item, 100 + item + number))
        for item in range(PRODUCTS + 1)
    }


class Trouble(enum.Enum):
    """Why the real kernel does not do what it is asked, or not as far as we know: its own words."""

    REFUSED = "No such file or directory"
    BUSY = "Device or resource busy"
    LOST = "No buffer space available"


class TroubledKernel(NftKernel):
    """The real kernel, which is brought to refuse one transaction for each ``trouble``."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.trouble: Trouble | None = None
        self.refusals: list[str] = []
        self._await_commit = netlink._await_commit

    def apply(self, transaction: Transaction) -> None:
        trouble = self.trouble
        if trouble is Trouble.REFUSED:
            self.trouble = None
            nobody = DeleteElements(IPV4, "pods4", ("203.0.113.99",))
            transaction = replace(transaction, commands=(*transaction.commands, nobody))
        elif trouble is Trouble.BUSY and AddSet not in map(type, transaction.commands):
            self.trouble = None
            _refer_to_classes(self.read([IPV4]))
        super().apply(transaction)

    def await_commit(self, channel: socket.socket, last: int) -> list[int]:
        """Take the answer, so that all has been done, and lose it."""
        made = self._await_commit(channel, last)
        if self.trouble is Trouble.LOST:
            self.trouble = None
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return made


def _refer_to_classes(have: Ruleset) -> None:
    """Let rules of another program's making hold the classes' chains, past which no packet goes."""
    table = have.tables[IPV4]
    classes = {*table.maps["in_d4"].targets.values(), *table.maps["eg_d4"].targets.values()}
    for chain in classes:
        run("nft", "add", "rule", *str(IPV4).split(), SHORTCUT, "jump", chain)


def _until_accepted(
    lab: Lab, tables: NodeTables, policy: CompiledPolicy, kernel: TroubledKernel
) -> None:
    """Sync as the daemon does: again and again."""
    while True:
        try:
            lab.node.call(tables.sync, policy)
        except KernelError as error:
            kernel.refusals.append(str(error))
        else:
            return


def some_policy(lab: Lab, draw: random.Random, number: int) -> CompiledPolicy:
    """Return one of many policies under which p3 may send to p2, and p1 may not."""
    _one, two, three = lab.pods
    strangers = draw.sample([f"10.3.1.{host}" for host in range(40)], draw.randrange(40))
    forms = (
        peers(three, *strangers),
        peer_ports([three, *strangers], (UDP, ALLOWED_UDP), (TCP, 81)),
        Allowed(networks=frozenset({ip_network(f"{three.ip4}/32"), ip_network("10.9.0.0/16")})),
        Allowed(
            network_ports=frozenset({(ip_network(f"{three.ip4}/32"), _ports(draw))}),
            peers=frozenset(map(ip_address, strangers)),
        ),
    )
    name = f"np-{draw.choice([0, 0, number])}"  # a new name is a new class
    classes = {2: [PolicyClass(Direction.INGRESS, (Key("ns", name),), draw.choice(forms))]}
    if draw.random() < 0.5:
        outgoing = draw.choice((peers(two), peer_ports([two], (UDP, ALLOWED_UDP))))
        classes[3] = [PolicyClass(Direction.EGRESS, (Key("ns", f"out-{number % 5}"),), outgoing)]
    if draw.random() < 0.5:
        classes[1] = [PolicyClass(Direction.EGRESS, (Key("ns", "shut"),), peers(*strangers))]
    return compiled(lab.pods, classes)


def _ports(draw: random.Random) -> PortRange:
    first = draw.randrange(1, ALLOWED_UDP)
    return PortRange(UDP, first, draw.randrange(ALLOWED_UDP, 5000))


def test_nothing_slips_through_an_update_from_one_table_for_both_families(lab: Lab) -> None:
    """The table of former versions goes when ours have come."""
    three = lab.pods[2]
    policy = compiled(lab.pods, {2: [ingress(peers(three))]})
    links = lab.node.call(NodeLinks, lab.way)
    lab.node.call(NodeTables(NftKernel(), lab.options, links).sync, policy)  # readies bridges
    lab.node.run("nft", FORMERLY)
    tables = NodeTables(NftKernel(), lab.options, links)

    with flooded(lab) as (denied, allowed):
        lab.node.call(tables.sync, policy)
        sent = denied.seen.sent, allowed.seen.sent
        wait_until(lambda: denied.seen.sent > sent[0] and allowed.seen.sent > sent[1])
    links.close()

    assert FORMER not in lab.node.call(lab.kernel.read, TABLES).tables
    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0


def test_nothing_slips_through_while_the_sets_grow(lab: Lab) -> None:
    """A node that outgrows the room of its sets denies and allows as before, at every moment."""
    three = lab.pods[2]
    shut = ingress(peers(three))
    links = lab.node.call(NodeLinks, lab.way)
    tables = NodeTables(NftKernel(), lab.options, links)
    lab.node.call(tables.sync, _among_many(lab, shut, 0))
    grown = []

    with flooded(lab) as (denied, allowed):
        for count in (LEAST - 10, LEAST + 10, LEAST, 2 * LEAST, 4 * LEAST, 3):
            before = allowed.seen.sent
            lab.node.call(tables.sync, _among_many(lab, shut, count))
            grown.append(room_of(lab.node.call(lab.kernel.read, [IPV4]).tables[IPV4]))
            wait_until(lambda before=before: allowed.seen.sent > before + 2)  # type: ignore[misc]
    links.close()

    assert [room // LEAST for room in grown] == [1, 2, 2, 4, 8, 8]
    assert denied.seen.arrived == 0
    assert allowed.seen.swallowed == 0


def _among_many(lab: Lab, shut: PolicyClass, count: int) -> CompiledPolicy:
    """Return the lab's pods, of which the second is isolated, among others that are, too."""
    policy = compiled(lab.pods, {2: [shut]})
    others = (
        LocalPod(Key("ns", f"other-{number}"), (ip_address("10.2.128.0") + number,), shut)
        for number in range(count)
    )
    return replace(policy, pods=(*policy.pods, *others))


def test_a_load_in_portions_is_closed_until_it_is_whole(lab: Lab) -> None:
    """A first load too great for one transaction denies from the first one on that has rules."""
    _one, two, three = lab.pods
    strangers = [f"10.{number >> 8}.{number & 255}.7" for number in range(4000)]
    policy = compiled(lab.pods, {2: [ingress(peers(three, *strangers))]})
    planned = Planner(lab.options, lambda _mark, _mask: False, portion=FEW).plan(
        Ruleset(), policy, lab.wiring(policy)
    )
    sets, first, *others = planned.transactions
    assert len(others) > 4000 // FEW
    for transaction in (sets, first):
        lab.node.call(lab.kernel.apply, transaction)
    denied = DeniedFlow(lab.spaces["p1"], lab.spaces["p2"], two.ip4)

    with running(denied.send, denied.receive):
        for transaction in others:
            before = denied.seen.sent
            lab.node.call(lab.kernel.apply, transaction)
            wait_until(lambda before=before: denied.seen.sent > before)  # type: ignore[misc]
    denied.close()

    assert denied.seen.arrived == 0
    assert lab.node.call(lab.kernel.read, planned.want.tables) == planned.want
    assert lab.probe("p3", two.ip4, 80) is Verdict.OPEN
