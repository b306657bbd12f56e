"""The kernel in memory and the real one answer the same transactions alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from enforcer.errors import KernelError
from enforcer.model.net import Direction
from enforcer.model.objects import Key
from enforcer.nft.declarations import sets_first
from enforcer.nft.fake import FakeKernel
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import (
    Chain,
    FieldType,
    Hook,
    HookName,
    Set,
    Table,
    TableFamily,
    TableId,
    VerdictMap,
    rule,
)
from enforcer.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    AddTargets,
    Command,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Transaction,
)
from enforcer.node import NodeTables
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.options import LowerOptions
from tests.kernel.netlab import Namespace, run
from tests.still_links import StillLinks

pytestmark = pytest.mark.kernel

T = TableId(TableFamily.INET, "npd")
OTHER = TableId(TableFamily.INET, "other")
SET = Set("pods", (FieldType.IPV4,))
PORTS = Set("ports", (FieldType.PROTOCOL, FieldType.PORT), interval=True)
MAP = VerdictMap("dispatch", (FieldType.IPV4,))
SMALL = Set("small", (FieldType.IPV4,), room=2)
SMALL_MAP = VerdictMap("few", (FieldType.IPV4,), room=1)
BASE = Chain("forward", hook=Hook(HookName.FORWARD, -5))
START: tuple[Command, ...] = (
    AddTable(T),
    AddChain(T, BASE),
    AddChain(T, Chain("one")),
    AddChain(T, Chain("two")),
    AddSet(T, SET),
    AddSet(T, PORTS),
    AddSet(T, MAP),
    AddSet(T, SMALL),
    AddSet(T, SMALL_MAP),
    AddElements(T, "small", ("10.0.0.1", "10.0.0.2")),
    AddTargets(T, "few", (("10.0.0.1", "one"),)),
    AddElements(T, "pods", ("10.0.0.1", "10.0.0.2")),
    AddElements(T, "ports", ("6 . 80", "17 . 5000-6000")),
    AddTargets(T, "dispatch", (("10.0.0.1", "one"),)),
    AddRule(T, "one", rule("ip saddr @pods return")),
    AddRule(T, "forward", rule("ip daddr vmap @dispatch")),
    AddRule(T, "forward", rule("ip saddr 10.9.9.9 goto two")),
)
BEGINNING = sets_first([Transaction(START)])

ACCEPTED: dict[str, tuple[Command, ...]] = {
    "the start alone": (),
    "an element that is there": (AddElements(T, "pods", ("10.0.0.1",)),),
    "an element that goes": (DeleteElements(T, "pods", ("10.0.0.1",)),),
    "a target that is there": (AddTargets(T, "dispatch", (("10.0.0.1", "one"),)),),
    "a target that moves": (
        DeleteElements(T, "dispatch", ("10.0.0.1",)),
        AddTargets(T, "dispatch", (("10.0.0.1", "two"),)),
    ),
    "a table again": (AddTable(T),),
    "a chain again": (AddChain(T, BASE),),
    "a set again": (AddSet(T, SET),),
    "a chain that nothing points at any more": (FlushChain(T, "forward"), DeleteChain(T, "two")),
    "a set that nothing asks any more": (FlushChain(T, "one"), DeleteSet(T, "pods")),
    "a set that nothing asked": (DeleteSet(T, "ports"),),
    "a full set that loses an element and gets another": (
        DeleteElements(T, "small", ("10.0.0.1",)),
        AddElements(T, "small", ("10.0.0.3",)),
    ),
    "a full map that changes whole": (
        DeleteElements(T, "few", ("10.0.0.1",)),
        AddTargets(T, "few", (("10.0.0.2", "two"),)),
    ),
    "a table that goes and comes": (DeleteTable(T), AddTable(T)),
}

REFUSED: dict[str, tuple[Command, ...]] = {
    "an element that is missing": (DeleteElements(T, "pods", ("10.0.0.3",)),),
    "one of two elements that is missing": (DeleteElements(T, "pods", ("10.0.0.1", "10.0.0.3")),),
    "a key that is missing": (DeleteElements(T, "dispatch", ("10.0.0.3",)),),
    "a target that contradicts": (AddTargets(T, "dispatch", (("10.0.0.1", "two"),)),),
    "a target that does not exist": (AddTargets(T, "dispatch", (("10.0.0.3", "three"),)),),
    "an element of a set that does not exist": (AddElements(T, "none", ("10.0.0.1",)),),
    "a chain that a map points at": (DeleteChain(T, "one"),),
    "a chain that a rule points at": (DeleteChain(T, "two"),),
    "a set that a rule asks": (DeleteSet(T, "pods"),),
    "a map that a rule asks": (DeleteSet(T, "dispatch"),),
    "a rule that goes nowhere": (AddRule(T, "one", rule("goto three")),),
    "a rule that asks nothing": (AddRule(T, "one", rule("ip saddr @none return")),),
    "a rule in no chain": (AddRule(T, "three", rule("return")),),
    "a chain that does not exist": (FlushChain(T, "three"),),
    "a set that does not exist": (DeleteSet(T, "none"),),
    "a table that does not exist": (DeleteTable(OTHER),),
    "a set in no table": (AddSet(OTHER, SET),),
    "a set of another type": (AddSet(T, Set("pods", (FieldType.IPV6,))),),
    "an element more than there is room for": (AddElements(T, "small", ("10.0.0.3",)),),
    "a target more than there is room for": (AddTargets(T, "few", (("10.0.0.3", "one"),)),),
    "room that comes too late": (
        AddElements(T, "small", ("10.0.0.3",)),
        DeleteElements(T, "small", ("10.0.0.1",)),
    ),
    "a set with the name of a map": (AddSet(T, Set("dispatch", (FieldType.IPV4,))),),
}


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdfake-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


@pytest.mark.parametrize("commands", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_both_accept(space: Namespace, commands: tuple[Command, ...]) -> None:
    """What the fake accepts the kernel accepts, and afterwards they hold the same."""
    fake, real = FakeKernel(), NftKernel()
    for transaction in (*BEGINNING, Transaction(commands)):
        fake.apply(transaction)
        space.call(real.apply, transaction)

    assert space.call(real.read, [T, OTHER]) == fake.read([T, OTHER])


@pytest.mark.parametrize("commands", REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse(space: Namespace, commands: tuple[Command, ...]) -> None:
    """What the fake refuses the kernel refuses, and neither has done half of it."""
    fake, real = FakeKernel(), NftKernel()
    for transaction in BEGINNING:
        fake.apply(transaction)
        space.call(real.apply, transaction)
    before = fake.read([T])
    half_right = Transaction((AddElements(T, "pods", ("10.0.0.9",)), *commands))

    for apply in (fake.apply, lambda change: space.call(real.apply, change)):
        with pytest.raises(KernelError):
            apply(half_right)

    assert fake.read([T]) == before
    assert space.call(real.read, [T]) == before


def test_a_refusal_shows_what_nft_said_and_where(space: Namespace) -> None:
    """The message names the purpose, the reason and the line."""
    change = Transaction((AddTable(T), AddChain(T, BASE), FlushChain(T, "gone")), "switch")

    with pytest.raises(KernelError) as refused:
        space.call(NftKernel().apply, change)

    assert "refused the switch" in str(refused.value)
    assert "No such file or directory" in str(refused.value)
    assert "flush chain inet npd gone" in str(refused.value)


def test_a_table_that_is_not_ours_is_seen_as_foreign(space: Namespace) -> None:
    """A table of our name that holds what none of ours does is read as foreign, not as an error."""
    space.run("nft", "add table inet npd; add set inet npd x { type mark; }")

    assert space.call(NftKernel().read, [T]).tables[T].foreign


def test_a_sleeping_table_is_seen(space: Namespace) -> None:
    """A dormant table is not the table that we want, whatever nft makes of it; it can be woken."""
    space.run("nft", "add table inet npd { flags dormant; }")

    asleep = space.call(NftKernel().read, [T]).tables[T]
    assert asleep.dormant or asleep.foreign
    space.call(NftKernel().apply, Transaction((AddTable(T),)))
    assert space.call(NftKernel().read, [T]).tables[T] == Table(T)


def test_the_generation_tells_that_somebody_changed_a_table(space: Namespace) -> None:
    """The generation stays while nothing changes and moves with every change, by anyone."""
    first = space.call(NftKernel().generation)
    assert space.call(NftKernel().generation) == first

    space.run("nft", "add table ip foreign")

    assert space.call(NftKernel().generation) == first + 1


@pytest.mark.parametrize("commands", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_transaction_is_one_generation(space: Namespace, commands: tuple[Command, ...]) -> None:
    """However much it does, a transaction counts as one; refused, or without effect, as none."""
    kernel = NftKernel()
    for transaction in BEGINNING:
        space.call(kernel.apply, transaction)
    first = space.call(kernel.generation)
    before = space.call(kernel.read, [T])

    space.call(kernel.apply, Transaction(commands))
    grown = space.call(kernel.generation) - first
    with pytest.raises(KernelError):
        space.call(kernel.apply, Transaction((*commands, FlushChain(T, "gone"))))

    assert grown <= 1
    assert grown == 1 or space.call(kernel.read, [T]) == before
    assert space.call(kernel.generation) == first + grown


def test_only_others_changes_disturb(space: Namespace) -> None:
    """A sync's own transactions are known by their number; one more was somebody else's."""
    node = NodeTables(NftKernel(), LowerOptions(), StillLinks())
    for number in (1, 2, 3):
        synced = space.call(node.sync, isolated_pods(number))
        assert (synced.transactions > 0, space.call(node.disturbed)) == (True, False)

    meddled = NodeTables(MeddledKernel(), LowerOptions(), StillLinks())
    space.call(meddled.sync, isolated_pods(4))

    assert space.call(meddled.disturbed)


def isolated_pods(number: int) -> CompiledPolicy:
    """Return the policy of a node with some pods that nobody may reach."""
    deny = PolicyClass(Direction.INGRESS, (Key("ns", f"deny-{number}"),), Allowed())
    pods = (
        LocalPod(Key("ns", f"p{last}"), (ip_address(f"10.2.0.{last}"),), deny)
        for last in range(number)
    )
    return CompiledPolicy("node", tuple(pods), (), frozenset())


class MeddledKernel(NftKernel):
    """Another program makes a table right after each transaction of ours."""

    def apply(self, transaction: Transaction) -> None:
        super().apply(transaction)
        run("nft", "add table ip foreign; delete table ip foreign")
