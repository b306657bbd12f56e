"""From one compiled policy to the next: which transactions, which epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from enforcer.errors import KernelError, SettingsError
from enforcer.model.net import Direction, Family, PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.nft.fake import FakeKernel
from enforcer.nft.objects import Ruleset, Table, TableId
from enforcer.nft.transaction import (
    AddElements,
    AddSet,
    AddTable,
    AddTargets,
    DeleteElements,
    DeleteTable,
    ReplaceRules,
    Transaction,
)
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.epoch import FreeEpochs
from enforcer.ruleset.names import BRIDGE, FORMER, IPV4, IPV6, JUDGES, TABLES
from enforcer.ruleset.options import DenyAction, ExistingConnections, LowerOptions
from enforcer.ruleset.plan import Plan, Planner, plan
from enforcer.ruleset.room import LEAST
from enforcer.wiring import NO_WIRING, BridgePort, PodBridge, Wiring

TCP = Protocol.TCP
V4, V6 = Family.IPV4, Family.IPV6
FRIEND = Allowed(peers=frozenset({ip_address("10.3.0.1")}))
FRIENDS = Allowed(peers=frozenset({ip_address("10.3.0.1"), ip_address("10.3.0.2")}))
OPTIONS = LowerOptions()


def nobody(_mark: int, _mask: int) -> bool:
    """No conntrack entry carries anything."""
    return False


def isolating(allowed: Allowed, name: str = "np") -> PolicyClass:
    """Return an ingress class."""
    return PolicyClass(Direction.INGRESS, (Key("ns", name),), allowed)


def pod(number: int, ingress: PolicyClass | None = None) -> LocalPod:
    """Return a local pod with an address in each family."""
    addresses = (ip_address(f"10.2.0.{number}"), ip_address(f"fd00:2::{number}"))
    return LocalPod(Key("ns", f"p{number}"), addresses, ingress)


def compiled(*pods: LocalPod) -> CompiledPolicy:
    """Return the policy of a node with these pods."""
    networks = (ip_network("10.2.0.0/24"), ip_network("fd00:2::/64"))
    return CompiledPolicy("node", pods, networks, frozenset({ip_address("192.168.7.1")}))


class Node:
    """A fake kernel that is planned for and applied to."""

    def __init__(self, options: LowerOptions = OPTIONS) -> None:
        """Start without tables."""
        self.kernel = FakeKernel()
        self.options = options

    def sync(
        self,
        policy: CompiledPolicy,
        wiring: Wiring = NO_WIRING,
        in_use: Callable[[int, int], bool] = nobody,
    ) -> Plan:
        """Plan from what the kernel holds, and apply."""
        planned = plan(self.kernel.read(TABLES), policy, wiring, self.options, in_use)
        for transaction in planned.transactions:
            self.kernel.apply(transaction)
        assert self.kernel.read(TABLES) == planned.want
        return planned


def test_an_unchanged_cluster_needs_nothing() -> None:
    """A restart finds its epoch in the kernel and sends nothing."""
    node = Node()
    first = node.sync(compiled(pod(1, isolating(FRIEND)), pod(2)))

    again = node.sync(compiled(pod(1, isolating(FRIEND)), pod(2)))

    assert again.transactions == ()
    assert again.epochs == first.epochs


def test_a_new_peer_is_one_element_and_no_new_epoch() -> None:
    """Adding to an allow set forbids nothing: live connections keep their stamp."""
    node = Node()
    first = node.sync(compiled(pod(1, isolating(FRIEND))))

    second = node.sync(compiled(pod(1, isolating(FRIENDS))))

    assert second.epochs[V4] == first.epochs[V4]
    (only,) = second.transactions
    (command,) = only.commands
    assert isinstance(command, AddElements)
    assert command.elements == ("10.3.0.2",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([pod(1, isolating(FRIENDS))], [pod(1, isolating(FRIEND))]),
        ([pod(1)], [pod(1, isolating(FRIEND))]),
        ([pod(1, isolating(FRIEND))], [pod(1)]),
        ([pod(1, isolating(FRIEND))], [pod(1, isolating(FRIEND, "other"))]),
        ([pod(1), pod(2)], [pod(1)]),
        ([pod(1, isolating(FRIEND))], [pod(1, isolating(Allowed(ports=frozenset())))]),
    ],
    ids=["peer goes", "isolated", "released", "class moves", "pod goes", "all peers go"],
)
def test_anything_else_takes_a_new_epoch(
    before: Iterable[LocalPod], after: Iterable[LocalPod]
) -> None:
    """Every change but the adding of elements to allow sets re-judges live connections."""
    node = Node()
    first = node.sync(compiled(*before))

    assert node.sync(compiled(*after)).epochs[V4] == first.epochs[V4] + 1


def test_a_pod_that_no_policy_selects_starts_without_a_new_epoch() -> None:
    """Its address only becomes known, which allows."""
    node = Node()
    first = node.sync(compiled(pod(1, isolating(FRIEND))))

    assert node.sync(compiled(pod(1, isolating(FRIEND)), pod(2))).epochs[V4] == first.epochs[V4]


def test_keep_never_takes_a_new_epoch() -> None:
    """With existing-connections=keep live connections are left alone."""
    node = Node(LowerOptions(existing=ExistingConnections.KEEP))
    first = node.sync(compiled(pod(1)))

    assert node.sync(compiled(pod(1, isolating(FRIEND)))).epochs[V4] == first.epochs[V4]


def test_an_epoch_that_a_connection_carries_is_passed_over() -> None:
    """In a new table and after each bump a number is used only when nobody carries it."""
    node = Node()
    taken = {OPTIONS.mark(number) for number in (1, 2, 4)}

    def in_use(mark: int, mask: int) -> bool:
        assert not mask & ~OPTIONS.mark_mask
        return any(carried & mask == mark for carried in taken)

    assert node.sync(compiled(pod(1)), in_use=in_use).epochs[V4] == 3
    assert node.sync(compiled(pod(1, isolating(FRIEND))), in_use=in_use).epochs[V4] == 5


def test_looking_for_free_epochs_is_rare() -> None:
    """One look tells of many numbers: the kernel walks through all of conntrack for each."""
    options, asked = LowerOptions(), []

    def in_use(mark: int, mask: int) -> bool:
        asked.append((mark, mask))
        return False

    epochs = FreeEpochs(options, in_use)
    found = [epochs.next(number) for number in range(1, 1001)]

    assert found == list(range(2, 1002))
    assert len(asked) < 20


def test_a_great_first_load_comes_in_portions() -> None:
    """Everything but what allows comes first; every step denies at least what the last one does."""
    many = Allowed(peers=frozenset(ip_address(f"10.3.{n >> 8}.{n & 255}") for n in range(1000)))
    options = LowerOptions(deny_action=DenyAction.REJECT)
    planned = Planner(options, nobody, portion=300).plan(
        Ruleset(), compiled(pod(1, isolating(many))), NO_WIRING
    )
    kernel = FakeKernel()

    for number, transaction in enumerate(planned.transactions):
        kernel.apply(transaction)
        inet = kernel.read(TABLES).tables[IPV4]
        sizes = [
            len(item.elements) for item in transaction.commands if isinstance(item, AddElements)
        ]
        assert sum(sizes) <= 300
        assert inet.maps["in_d4"].targets or not inet.chains
        last = number == len(planned.transactions) - 1
        assert (inet.chains.get("deny") == planned.want.tables[IPV4].chains["deny"]) is last

    assert len(planned.transactions) == 7
    assert kernel.read(TABLES) == planned.want


@pytest.mark.parametrize(
    ("former", "steps"),
    [
        (
            IPV4,
            [
                *("prepare: sets", "prepare", "relieve", "rest", "clear"),
                *("switch: sets", "switch", "wake", "retire", "sweep"),
            ],
        ),
        (FORMER, ["switch: sets", "switch", "wake", "retire", "sweep"]),
    ],
    ids=str,
)
def test_another_layout_is_replaced_whole_however_great(former: TableId, steps: list[str]) -> None:
    """What the old rules let pass does not wait, also where they are in one table for both."""
    many = Allowed(peers=frozenset(ip_address(f"10.3.{n >> 8}.{n & 255}") for n in range(1000)))
    have = Ruleset({former: Table(former, foreign=True)})

    planned = Planner(OPTIONS, nobody, portion=10).plan(
        have, compiled(pod(1, isolating(many))), NO_WIRING
    )

    assert [item.purpose for item in planned.transactions] == steps
    taken = [item for item in planned.transactions if DeleteTable(former) in item.commands]
    assert [len(item.commands) for item in taken] == [1]


def test_the_epoch_wraps_past_zero() -> None:
    """Zero is what a connection that was never judged carries."""
    node = Node(LowerOptions(mark_mask=0xFF00))
    classes = (isolating((FRIEND, FRIENDS)[step % 2], f"p{step}") for step in range(300))
    epochs = [node.sync(compiled(pod(1, item))).epochs[V4] for item in classes]

    assert set(epochs) == set(range(1, 256))
    assert epochs[254:257] == [255, 1, 2]


def test_no_free_epoch_is_an_error() -> None:
    """Where another program fills our bits we say so instead of trusting its marks."""
    with pytest.raises(KernelError, match="mark-mask"):
        Node(LowerOptions(mark_mask=0xFF)).sync(compiled(), in_use=lambda _mark, _mask: True)


def test_another_mark_mask_starts_afresh() -> None:
    """Stamps in other bits say nothing."""
    node = Node()
    node.sync(compiled(pod(1)))
    node.options = LowerOptions(mark_mask=0xFF00)

    changed = node.sync(compiled(pod(1)), in_use=lambda mark, _mask: mark == 0x100)

    assert changed.epochs[V4] == 2


@pytest.mark.parametrize("mask", [0, 0x7F, 0xF0F0, 1 << 32])
def test_a_mask_without_room_is_refused(mask: int) -> None:
    """The stamp needs eight or more bits in one row."""
    with pytest.raises(SettingsError):
        LowerOptions(mark_mask=mask)


def test_a_new_class_is_prepared_first() -> None:
    """Chains and sets of a new class are there before the pods are led to them."""
    node = Node()
    node.sync(compiled(pod(1)))

    steps = node.sync(compiled(pod(1, isolating(FRIEND)))).transactions

    assert [step.purpose for step in steps] == ["prepare: sets", "prepare", "switch"]


def test_sets_are_made_apart_from_all_else() -> None:
    """Tables and empty sets come first, in the kernel's own words: ``nft`` has no part in them."""
    steps = (
        Node().sync(compiled(pod(1, isolating(FRIEND))), bridge(("v1", "10.2.0.1"))).transactions
    )

    makes = [{type(item) for item in step.commands} for step in steps]
    assert makes[0] == {AddTable, AddSet}
    assert not any({AddTable, AddSet} & kinds for kinds in makes[1:])


@pytest.mark.parametrize("former", [Ruleset(), Ruleset({FORMER: Table(FORMER, foreign=True)})])
def test_a_load_that_broke_off_after_its_sets_is_made_whole(former: Ruleset) -> None:
    """A table without chains judges nothing: it goes, and all comes as on a new node."""
    fast = Wiring(frozenset({"v1"}), fast=frozenset({"v1", "up0"}))
    policy, kernel = compiled(pod(1, isolating(FRIEND))), FakeKernel()
    begun = plan(former, policy, fast, OPTIONS, nobody).transactions[0]
    kernel.apply(begun)
    left = kernel.read(TABLES)

    planned = plan(Ruleset({**former.tables, **left.tables}), policy, fast, OPTIONS, nobody)

    whole = plan(former, policy, fast, OPTIONS, nobody).transactions
    assert {*planned.transactions[0].commands} == {DeleteTable(IPV4), DeleteTable(IPV6)}
    assert planned.transactions[1:] == whole


def test_rules_do_not_grow_with_pods_or_peers() -> None:
    """Two hundred pods and thousands of peers meet the same rules as one of each."""
    many = frozenset(ip_address(f"10.{x}.{y}.1") for x in range(3, 23) for y in range(250))
    small = Node().sync(compiled(pod(1, isolating(FRIEND)))).want
    large = (
        Node().sync(compiled(*(pod(n, isolating(Allowed(peers=many))) for n in range(1, 201)))).want
    )

    def count(chains: Iterable[object]) -> int:
        return len(list(chains))

    small_rules = [rule for chain in small.tables[IPV4].chains.values() for rule in chain.rules]
    large_rules = [rule for chain in large.tables[IPV4].chains.values() for rule in chain.rules]
    assert count(large_rules) == count(small_rules)
    assert large.tables[IPV4].chains.keys() == small.tables[IPV4].chains.keys()


def test_a_class_has_only_the_lookups_that_it_needs() -> None:
    """One peer in IPv4 is one lookup, and in IPv6 none."""
    tables = Node().sync(compiled(pod(1, isolating(FRIEND)))).want.tables
    sizes = {
        name[:3]: len(chain.rules)
        for id_ in (IPV4, IPV6)
        for name, chain in tables[id_].chains.items()
        if name[:3] in {"in4", "in6"}
    }

    assert sizes == {"in4": 2, "in6": 1}


def test_a_class_that_allows_everything_isolates_nobody() -> None:
    """A pod whose policies allow everything is not looked up at all."""
    want = Node().sync(compiled(pod(1, isolating(Allowed(everything=True))))).want
    inet = want.tables[IPV4]

    assert not inet.maps["in_d4"].targets
    assert not inet.sets["isoi4"].elements


def test_names_are_readable_and_stable() -> None:
    """A policy that changes keeps its chain; namespace and policy can be read in the name."""
    node = Node()
    node.sync(compiled(pod(1, isolating(FRIEND))))
    before = {name for name in node.kernel.read(TABLES).tables[IPV4].chains if "ns.np" in name}
    node.sync(compiled(pod(1, isolating(FRIENDS))))
    after = {name for name in node.kernel.read(TABLES).tables[IPV4].chains if "ns.np" in name}

    assert before == after
    assert len(before) == 2


def test_classes_that_differ_by_named_ports_have_chains_of_their_own() -> None:
    """The same policy with another port behind its name is another class."""
    on_80 = Allowed(ports=frozenset({PortRange(TCP, 80, 80)}))
    on_81 = Allowed(ports=frozenset({PortRange(TCP, 81, 81)}))
    want = Node().sync(compiled(pod(1, isolating(on_80)), pod(2, isolating(on_81)))).want
    targets = want.tables[IPV4].maps["in_d4"].targets

    assert len(set(targets.values())) == 2


def test_long_names_fit() -> None:
    """The longest names that Kubernetes allows still make names and comments that nft takes."""
    policies = tuple(Key("n" * 63, f"{index:0253}") for index in range(40))
    long = PolicyClass(Direction.INGRESS, policies, FRIEND)
    inet = Node().sync(compiled(pod(1, long))).want.tables[IPV4]

    assert all(len(name) < 128 for name in (*inet.chains, *inet.sets, *inet.maps))
    assert all(len(chain.comment) <= 127 for chain in inet.chains.values())


MAC = "02:00:00:00:02:01"


def bridge(*ports: tuple[str, str]) -> Wiring:
    """Return the wiring of a bridged node with (port, address) pairs."""
    found = tuple(
        BridgePort(name, frozenset({ip_address(text)}), MAC) if text else BridgePort(name)
        for name, text in ports
    )
    return Wiring(frozenset({"br0"}), (PodBridge("br0", found),))


def test_a_bridge_port_may_send_from_all_addresses_of_its_pod() -> None:
    """A pod that was seen with one address is known with all; a port nobody was seen at is not."""
    node = Node()
    want = node.sync(compiled(pod(1), pod(2)), bridge(("v1", "10.2.0.1"), ("v2", ""))).want
    sets = want.tables[BRIDGE].sets

    assert sets["ports"].elements == {'"v1"'}
    assert sets["src4"].elements == {f'"v1" . {MAC} . 10.2.0.1'}
    assert sets["src6"].elements == {
        f'"v1" . {MAC} . fd00:2::1',
        f'"v1" . {MAC} . fe80::ff:fe00:201',
    }


def test_an_address_stays_at_the_port_where_it_was_first_seen() -> None:
    """A pod that sends with another pod's MAC address does not take over its address."""
    node = Node()
    node.sync(compiled(pod(1), pod(2)), bridge(("v1", "10.2.0.1"), ("v2", "10.2.0.2")))

    stolen = node.sync(compiled(pod(1), pod(2)), bridge(("v1", "10.2.0.2"), ("v2", "")))

    assert stolen.transactions == ()


def test_an_address_moves_when_its_port_is_gone() -> None:
    """A pod that was made anew with the same address is known at its new port."""
    node = Node()
    node.sync(compiled(pod(1)), bridge(("v1", "10.2.0.1")))

    want = node.sync(compiled(pod(1)), bridge(("v9", "10.2.0.1"))).want

    assert want.tables[BRIDGE].sets["src4"].elements == {f'"v9" . {MAC} . 10.2.0.1'}


def test_a_node_without_a_bridge_has_no_bridge_table() -> None:
    """The bridge table comes and goes with the pod bridges."""
    node = Node()
    node.sync(compiled(pod(1)), bridge(("v1", "10.2.0.1")))

    assert BRIDGE not in node.sync(compiled(pod(1))).want.tables


def many(count: int) -> CompiledPolicy:
    """Return a node with so many pods of one address, each isolated."""
    isolated = isolating(FRIEND)
    pods = (
        LocalPod(Key("ns", f"p{number}"), (ip_address("10.2.0.0") + number,), isolated)
        for number in range(count)
    )
    return compiled(*pods)


def rooms(planned: Plan) -> set[int]:
    """Return the room of the sets that cannot grow."""
    table = planned.want.tables[IPV4]
    maps = (item.room for name, item in table.maps.items() if "_d4" in name)
    return {item.room for item in table.sets.values()} - {0} | {*maps}


def test_a_node_that_outgrows_its_sets_gets_new_ones_before_they_are_asked() -> None:
    """Sets with twice the room are filled, then asked; the old ones go last."""
    node = Node()
    assert rooms(node.sync(many(LEAST))) == {LEAST}

    grown = node.sync(many(LEAST + 1))

    assert rooms(grown) == {2 * LEAST}
    purposes = ["prepare: sets", "prepare", "switch", "sweep"]
    assert [step.purpose for step in grown.transactions] == purposes
    _, prepare, switch, _ = grown.transactions
    filled = {
        item.map: len(item.targets) for item in prepare.commands if isinstance(item, AddTargets)
    }
    assert filled == {f"in_d4.{2 * LEAST}": LEAST + 1}
    changed = {item.chain for item in switch.commands if isinstance(item, ReplaceRules)}
    assert {"forward", "fresh_tcp", "judge", "stamp"} <= changed
    assert node.sync(many(LEAST + 1)).transactions == ()


def test_sets_that_have_grown_stay_so() -> None:
    """A node whose pods come and go around a size does not change its sets each time."""
    node = Node()
    node.sync(many(2 * LEAST + 1))

    fewer = node.sync(many(3))

    assert rooms(fewer) == {4 * LEAST}
    assert [step.purpose for step in fewer.transactions] == ["switch"]


def test_a_pod_more_in_a_set_that_has_grown_needs_no_new_epoch() -> None:
    """A set's room does not change what adding to it means."""
    node = Node()
    node.sync(many(LEAST + 1))
    known = node.sync(compiled(*many(LEAST + 1).pods, pod(200)))

    again = node.sync(compiled(*many(LEAST + 1).pods, pod(200), pod(201)))

    assert again.epochs == known.epochs


def test_every_pod_may_change_at_once_where_there_is_room_for_no_more() -> None:
    """In one transaction old elements go before new ones come."""
    node = Node()
    node.sync(many(LEAST))
    others = many(2 * LEAST).pods[LEAST:]

    assert rooms(node.sync(compiled(*others))) == {LEAST}


@pytest.mark.parametrize(("gone", "others"), [(V4, V6), (V6, V4)])
def test_a_family_whose_table_is_gone_has_a_new_epoch(gone: Family, others: Family) -> None:
    """Who carries the old one was not judged meanwhile; the other family's connections were."""
    node = Node()
    policy = compiled(pod(1, isolating(FRIEND)))
    first = node.sync(policy)
    carried = OPTIONS.mark(first.epochs[gone])
    node.kernel.apply(Transaction((DeleteTable(JUDGES[gone]),)))

    again = node.sync(policy, in_use=lambda mark, mask: carried & mask == mark)

    assert again.epochs[gone] != first.epochs[gone]
    assert again.epochs[others] == first.epochs[others]


def test_a_change_of_one_family_leaves_the_others_connections_alone() -> None:
    """They are stamped and asked by a table that has not changed."""
    planner = Planner(OPTIONS, nobody)
    first = planner.plan(Ruleset(), compiled(pod(1, isolating(FRIENDS))), NO_WIRING)

    second = planner.plan(first.want, compiled(pod(1, isolating(FRIEND))), NO_WIRING)

    assert second.epochs[V4] == first.epochs[V4] + 1
    assert second.epochs[V6] == first.epochs[V6]
    assert {item.table for step in second.transactions for item in step.commands} == {IPV4}
    assert second.want.tables[IPV6] is first.want.tables[IPV6]


def blocks(*networks: str) -> Allowed:
    """Return what some ipBlocks allow."""
    return Allowed(networks=frozenset(map(ip_network, networks)))


def test_ranges_that_go_take_a_second_epoch_after_the_first() -> None:
    """What a packet was stamped with that met the new rules and the old ranges does not last."""
    planner = Planner(OPTIONS, nobody)
    wide, narrow = blocks("10.8.0.0/16", "10.20.0.0/16"), blocks("10.8.0.0/16")
    first = planner.plan(Ruleset(), compiled(pod(1, isolating(wide))), NO_WIRING)

    second = planner.plan(first.want, compiled(pod(1, isolating(narrow))), NO_WIRING)
    third = planner.plan(second.want, compiled(pod(1, isolating(wide))), NO_WIRING)

    change, settle = second.transactions
    assert {type(item) for item in change.commands} == {DeleteElements, ReplaceRules}
    assert {type(item) for item in settle.commands} == {ReplaceRules}
    assert second.epochs == {V4: first.epochs[V4] + 2, V6: first.epochs[V6]}
    assert third.epochs == second.epochs
    assert len(third.transactions) == 1


def test_an_unsettled_epoch_that_was_left_is_followed_by_another() -> None:
    """A daemon that was killed between the two owes the second."""
    node = Node()
    wide, narrow = blocks("10.8.0.0/16", "10.20.0.0/16"), blocks("10.8.0.0/16")
    first = node.sync(compiled(pod(1, isolating(wide))))
    policy = compiled(pod(1, isolating(narrow)))
    broken = plan(node.kernel.read(TABLES), policy, NO_WIRING, OPTIONS, nobody)
    node.kernel.apply(broken.transactions[0])

    again = node.sync(policy)

    assert again.epochs == {V4: first.epochs[V4] + 2, V6: first.epochs[V6]}
    assert [item.purpose for item in again.transactions] == ["switch"]
    assert not node.sync(policy).transactions


def test_a_table_that_lost_a_rule_is_repaired() -> None:
    """What another program took away comes back, and connections are judged again."""
    node = Node()
    policy = compiled(pod(1, isolating(FRIEND)))
    first = node.sync(policy)
    have = node.kernel.read(TABLES)
    inet = have.tables[IPV4]
    damaged = replace(inet, chains={**inet.chains, "deny": replace(inet.chains["deny"], rules=())})

    repaired = plan(replace(have, tables={IPV4: damaged}), policy, NO_WIRING, OPTIONS, nobody)

    assert repaired.epochs[V4] == first.epochs[V4] + 1
    assert [step.purpose for step in repaired.transactions] == ["switch: sets", "switch"]
