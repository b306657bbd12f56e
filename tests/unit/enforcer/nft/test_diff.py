"""The order in which a ruleset is changed, and what the change is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcer.errors import KernelError
from enforcer.nft.aside import MOST_DELETED
from enforcer.nft.diff import diff, stand_in
from enforcer.nft.fake import FakeKernel
from enforcer.nft.objects import (
    LOOKUP,
    Chain,
    FieldType,
    Flowtable,
    Hook,
    HookName,
    Ruleset,
    Set,
    Table,
    TableFamily,
    TableId,
    VerdictMap,
    rule,
    ruleset,
    table,
)
from enforcer.nft.transaction import (
    AddChain,
    AddElements,
    AddFlowtable,
    AddRule,
    AddTable,
    AddTargets,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    MakeDormant,
    ReplaceRules,
    Transaction,
)

T = TableId(TableFamily.INET, "npd")
BOTH = (T, stand_in(T))
BRIDGE = TableId(TableFamily.BRIDGE, "npd")
FORWARD = Hook(HookName.FORWARD, -5)


def build(
    classes: dict[str, frozenset[str]],
    pods: dict[str, str],
    epoch: int = 1,
) -> Ruleset:
    """Return a table with a chain and a set for each class, and a map from pods to classes."""
    sets = [Set(f"s_{name}", (FieldType.IPV4,), peers) for name, peers in classes.items()]
    chains = [Chain(name, (rule(f"ip saddr @s_{name} return"),)) for name in classes]
    base = Chain("forward", (rule(f"ct mark {epoch} accept"), rule("ip daddr vmap @d")), FORWARD)
    return ruleset([table(T, sets, [VerdictMap("d", (FieldType.IPV4,), pods)], [base, *chains])])


ONE = build({"a": frozenset({"10.0.0.1"})}, {"10.1.0.1": "a"})


def test_equal_rulesets_need_nothing() -> None:
    """An empty difference is no transaction at all."""
    assert diff(ONE, build({"a": frozenset({"10.0.0.1"})}, {"10.1.0.1": "a"})) == ()


def test_a_missing_table_is_made_in_one_transaction() -> None:
    """There is no instant at which half of a new table judges packets."""
    (only,) = diff(Ruleset(), ONE)

    assert only.commands[0] == AddTable(T)
    kernel = FakeKernel()
    kernel.apply(only)
    assert kernel.read([T]) == ONE


def test_a_new_class_is_there_before_anything_points_at_it() -> None:
    """Chains and sets of a new class go in an earlier transaction than the map's element."""
    want = build(
        {"a": frozenset({"10.0.0.1"}), "b": frozenset({"10.0.0.2"})},
        {"10.1.0.1": "a", "10.1.0.2": "b"},
        epoch=2,
    )

    prepare, switch = diff(ONE, want)

    assert AddChain(T, Chain("b")) in [
        replace(command, chain=Chain(command.chain.name))
        for command in prepare.commands
        if isinstance(command, AddChain)
    ]
    assert AddElements(T, "s_b", ("10.0.0.2",)) in prepare.commands
    assert not any(isinstance(command, AddTargets) for command in prepare.commands)
    assert AddTargets(T, "d", (("10.1.0.2", "b"),)) in switch.commands
    assert any(isinstance(command, ReplaceRules) for command in switch.commands)


def test_unused_objects_go_last() -> None:
    """Chains and sets are deleted in a transaction after the one that stopped using them."""
    have = build({"a": frozenset({"10.0.0.1"}), "b": frozenset()}, {"10.1.0.2": "b"})
    want = build({"a": frozenset({"10.0.0.1"})}, {})

    switch, sweep = diff(have, want)

    assert switch.commands == (DeleteElements(T, "d", ("10.1.0.2",)),)
    assert sweep.commands == (FlushChain(T, "b"), DeleteChain(T, "b"), DeleteSet(T, "s_b"))


def test_a_pod_that_changes_its_class_is_moved_in_one_step() -> None:
    """The old verdict is deleted and the new one added in the same transaction."""
    both = {"a": frozenset({"10.0.0.1"}), "b": frozenset({"10.0.0.2"})}

    (switch,) = diff(build(both, {"10.1.0.1": "a"}), build(both, {"10.1.0.1": "b"}))

    assert switch.commands == (
        DeleteElements(T, "d", ("10.1.0.1",)),
        AddTargets(T, "d", (("10.1.0.1", "b"),)),
    )


def test_one_element_is_one_command() -> None:
    """A changed peer costs one element each way, whatever else is in the set."""
    many = frozenset(f"10.0.{index >> 8}.{index & 255}" for index in range(5000))
    have = build({"a": many}, {})

    (switch,) = diff(have, build({"a": (many - {"10.0.0.7"}) | {"10.9.9.9"}}, {}))

    assert switch.commands == (
        DeleteElements(T, "s_a", ("10.0.0.7",)),
        AddElements(T, "s_a", ("10.9.9.9",)),
    )


def ranges(*elements: str) -> Ruleset:
    """Return a table with one set of networks and ports, and the rule that asks it."""
    asked = Set("n", (FieldType.IPV4, FieldType.PORT), frozenset(elements), interval=True)
    return ruleset(
        [table(T, [asked], chains=[Chain("a", (rule("ip saddr . th dport @n accept"),))])]
    )


MANY = tuple(f"10.{number}.0.0/16 . 80" for number in range(100))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MANY, MANY[MOST_DELETED + 1 :]),
        (("10.0.0.0/8 . 80",), ("10.0.0.0/9 . 80", "10.192.0.0/10 . 80")),
        (("10.0.0.1 . 80-90", "10.0.0.2 . 80-90"), ("10.0.0.1 . 80-91", "10.0.0.2 . 80-90")),
    ],
    ids=["many elements go", "a network is cut otherwise", "a range is cut otherwise"],
)
def test_ranges_that_are_cut_otherwise_never_change_while_they_are_asked(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """A packet could find neither the old element nor the new one: another set is asked."""
    kernel = FakeKernel()
    have, want = ranges(*before), ranges(*after)
    for transaction in diff(Ruleset(), have):
        kernel.apply(transaction)

    for transaction in diff(have, want):
        was_asked = asked_sets(kernel)
        kernel.apply(transaction)
        touched = {item.set for item in transaction.commands if isinstance(item, CHANGES)}
        assert touched.isdisjoint(was_asked | asked_sets(kernel))

    assert kernel.read([T]) == want


CHANGES = (AddElements, DeleteElements)


def asked_sets(kernel: FakeKernel) -> set[str]:
    """Return the sets that the rules in a kernel ask."""
    (found,) = kernel.read([T]).tables.values()
    rules = [item.expression for chain in found.chains.values() for item in chain.rules]
    return {name for text in rules for name in LOOKUP.findall(text)}


def test_a_set_loses_nothing_while_a_packet_may_have_the_old_rules() -> None:
    """Who passes to another set of the chain would be found by the old rules in neither."""
    one = Set("one", (FieldType.IPV4,), frozenset({"10.0.0.1", "10.0.0.2"}))
    two = Set("two", (FieldType.IPV4,), frozenset({"10.0.0.2"}))
    asks_one, asks_both = (
        Chain("a", tuple(rule(f"ip saddr @{name} accept") for name in names))
        for names in (["one"], ["one", "two"])
    )
    have = ruleset([table(T, [one], chains=[asks_one])])
    less = replace(one, elements=frozenset({"10.0.0.1"}))
    want = ruleset([table(T, [less, two], chains=[asks_both])])
    kernel = FakeKernel()
    for transaction in (*diff(Ruleset(), have), *diff(have, want)):
        kernel.apply(transaction)
        assert not any(isinstance(item, DeleteElements) for item in transaction.commands)

    assert kernel.read([T]) == want


@pytest.mark.parametrize("done", range(6))
def test_a_change_of_ranges_that_breaks_off_goes_on_from_what_is_there(done: int) -> None:
    """Wherever it stopped, and whatever is wanted by then."""
    kernel = FakeKernel()
    old, planned = ranges("10.0.0.0/8 . 80"), ranges("10.0.0.0/9 . 80")
    for transaction in (*diff(Ruleset(), old), *diff(old, planned)[:done]):
        kernel.apply(transaction)
    want = ranges("10.0.0.0/10 . 80")

    for transaction in diff(kernel.read([T]), want):
        kernel.apply(transaction)

    assert kernel.read([T]) == want


def test_ranges_that_do_not_overlap_come_and_go_one_by_one() -> None:
    """One pod goes, another one comes: whatever else is in the set."""
    have, want = ranges(*MANY, "10.200.0.1 . 80-90"), ranges(*MANY, "10.200.0.2 . 80-90")

    (switch,) = diff(have, want)

    assert switch.commands == (
        DeleteElements(T, "n", ("10.200.0.1 . 80-90",)),
        AddElements(T, "n", ("10.200.0.2 . 80-90",)),
    )


@pytest.mark.parametrize(
    "old",
    [
        Table(T, foreign=True),
        table(T, [Set("s_a", (FieldType.IPV6,))]),
        table(T, chains=[Chain("forward", hook=Hook(HookName.FORWARD, 10))]),
        table(T, chains=[Chain("a", hook=FORWARD)]),
        table(T, maps=[VerdictMap("s_a", (FieldType.IPV4,))]),
    ],
)
def test_a_table_of_another_shape_has_a_stand_in_while_it_is_made_anew(old: Table) -> None:
    """No transaction both takes away and brings what judges: a packet could pass between them."""
    prepare, relieve, rest, clear, switch, wake, retire, sweep = diff(ruleset([old]), ONE)

    other = stand_in(T)
    assert prepare.commands[0] == MakeDormant(other)
    assert relieve.commands == (AddTable(other),)
    assert (rest.commands, clear.commands) == ((MakeDormant(T),), (DeleteTable(T),))
    assert switch.commands[0] == MakeDormant(T)
    assert wake.commands == (AddTable(T),)
    assert (retire.commands, sweep.commands) == ((MakeDormant(other),), (DeleteTable(other),))


@pytest.mark.parametrize("done", range(1, 8))
def test_a_table_that_was_being_made_anew_is_so_to_the_end(done: int) -> None:
    """Wherever it broke off, something judges at each moment, and nothing is left."""
    kernel = FakeKernel()
    old = ruleset([table(T, chains=[Chain("a", hook=FORWARD)])])
    for transaction in (*diff(Ruleset(), old), *diff(old, ONE)[:done]):
        kernel.apply(transaction)
    assert any(not item.dormant for item in kernel.read(BOTH).tables.values())

    for transaction in diff(kernel.read(BOTH), ONE):
        kernel.apply(transaction)
        assert any(not item.dormant for item in kernel.read(BOTH).tables.values())

    assert kernel.read(BOTH) == ONE


def test_a_table_that_is_made_anew_has_its_short_cut_when_it_is_asked() -> None:
    """An interface is in one flowtable at most, and the old table still has it."""
    flowtable = Flowtable("short", frozenset({"eth0"}))
    chain = Chain("shortcut", (rule("flow add @short"), rule("accept")))
    new = replace(table(T, chains=[chain]), flowtables={"short": flowtable})
    kernel = FakeKernel()
    old = ruleset([table(T, chains=[Chain("shortcut", hook=FORWARD)])])

    for transaction in (*diff(Ruleset(), old), *diff(old, ruleset([new]))):
        kernel.apply(transaction)
        assert not any(
            stand_in(T) == item.table
            for item in transaction.commands
            if isinstance(item, AddFlowtable)
        )

    assert kernel.read(BOTH) == ruleset([new])


def test_a_sleeping_table_is_woken() -> None:
    """A dormant table enforces nothing."""
    asleep = ruleset([replace(ONE.tables[T], dormant=True)])

    (only,) = diff(asleep, ONE)

    assert only.commands == (AddTable(T),)


def test_a_table_that_is_not_wanted_goes() -> None:
    """The bridge table disappears with the last pod bridge."""
    have = Ruleset({**ONE.tables, BRIDGE: Table(BRIDGE)})

    retire, sweep = diff(have, ONE)

    assert (retire.commands, sweep.commands) == ((MakeDormant(BRIDGE),), (DeleteTable(BRIDGE),))


def test_each_item_of_a_transaction_has_a_line_of_its_own() -> None:
    """The text for nft names objects before they are used, one element a line."""
    change = Transaction(
        (
            AddTable(T),
            AddElements(T, "s", ("10.0.0.1", "10.0.0.2")),
            AddTargets(T, "d", (("10.0.0.1", "a"),)),
            AddRule(T, "a", rule("return", "note")),
        )
    )

    assert str(change).splitlines() == [
        "add table inet npd",
        "add element inet npd s {",
        "10.0.0.1,",
        "10.0.0.2",
        "}",
        "add element inet npd d {",
        "10.0.0.1 : jump a",
        "}",
        f'add rule inet npd a return comment "{rule("return", "note").comment}"',
    ]


def test_rules_are_told_apart_by_their_text() -> None:
    """A rule's comment carries a hash of its text, and nothing else is compared."""
    assert rule("accept") != rule("drop")
    assert rule("accept") == replace(rule("accept"), expression="as the kernel words it")


def test_a_refused_transaction_changes_nothing_in_the_fake() -> None:
    """The fake kernel is atomic."""
    kernel = FakeKernel()
    kernel.apply(diff(Ruleset(), ONE)[0])
    change = Transaction((AddElements(T, "s_a", ("10.9.9.9",)), DeleteChain(T, "a")))

    with pytest.raises(KernelError, match="busy"):
        kernel.apply(change)

    assert kernel.read([T]) == ONE
