"""What goes to the kernel in its own messages is what ``nft`` would have made of it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator

import pytest

from enforcer.errors import KernelError, LostRaceError
from enforcer.model.net import Family
from enforcer.nft import batch, netlink
from enforcer.nft.declarations import sets_first
from enforcer.nft.diff import diff
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import (
    Chain,
    FieldType,
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
from enforcer.nft.transaction import AddRule, FlushChain, Transaction, command_text
from enforcer.ruleset.given import ProgramInput
from enforcer.ruleset.names import JUDGES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.program import NOT_SPECIAL
from tests.kernel.netlab import Namespace, run

pytestmark = pytest.mark.kernel

T = TableId(TableFamily.INET, "npd-test")
ADDRESS, ADDRESS6, PROTOCOL, PORT = (
    FieldType.IPV4,
    FieldType.IPV6,
    FieldType.PROTOCOL,
    FieldType.PORT,
)
KINDS: dict[str, tuple[tuple[FieldType, ...], bool, tuple[str, ...]]] = {
    "addresses": ((ADDRESS,), False, ("10.0.0.1", "10.0.0.2", "255.255.255.255")),
    "addresses6": ((ADDRESS6,), False, ("fd00::1", "2001:db8::7:1")),
    "peerport": ((ADDRESS, PROTOCOL, PORT), False, ("10.0.0.1 . 6 . 80", "10.0.0.1 . 17 . 53")),
    "peerport6": ((ADDRESS6, PROTOCOL, PORT), False, ("fd00::1 . 132 . 65535",)),
    "pairs": ((ADDRESS, ADDRESS), False, ("10.0.0.1 . 10.0.0.1",)),
    "port": ((PROTOCOL, PORT), False, ("6 . 80", "17 . 0")),
    "portrange": ((PROTOCOL, PORT), True, ("6 . 80-90", "17 . 53", "132 . 0-65535")),
    "netport": (
        (ADDRESS, PROTOCOL, PORT),
        True,
        ("10.0.0.0/8 . 6 . 80-90", "0.0.0.0/0 . 17 . 53", "10.9.9.9 . 132 . 1-2"),
    ),
    "netport6": ((ADDRESS6, PROTOCOL, PORT), True, ("fd00::/16 . 6 . 80", "fe80::1 . 6 . 1-9")),
    "interfaces": ((FieldType.INTERFACE,), False, ('"veth1"', '"a-name-of-15-ch"')),
    "sources": ((FieldType.INTERFACE, ADDRESS), False, ('"veth1" . 10.0.0.1',)),
}


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdraw-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


def sets(wanted: int) -> Table:
    """Return a table with a set of each kind that holds its first elements."""
    return table(
        T,
        sets=(
            Set(name, fields, frozenset(elements[:wanted]), interval)
            for name, (fields, interval, elements) in KINDS.items()
        ),
    )


def switch(kernel: NftKernel, have: Table, want: Table) -> None:
    """Bring the kernel from one table to the other without ``nft``."""
    kernel.generation()
    (change,) = diff(ruleset([have]), ruleset([want]))
    assert batch.encode(change, kernel._handles.of) is not None
    kernel.apply(change)


def load(kernel: NftKernel, want: Table) -> None:
    """Make a table with ``nft``, but for its sets."""
    for change in sets_first(diff(Ruleset(), ruleset([want]))):
        kernel.apply(change)


def test_elements_of_every_kind_come_and_go(space: Namespace) -> None:
    """Each kind of element that a set of ours has is added and deleted as it is written."""
    kernel = NftKernel()
    empty, full = sets(0), sets(9)

    def there_and_back() -> None:
        load(kernel, empty)
        switch(kernel, empty, full)
        assert kernel.read([T]).tables[T] == full
        switch(kernel, full, sets(1))
        assert kernel.read([T]).tables[T] == sets(1)
        switch(kernel, sets(1), empty)
        assert kernel.read([T]).tables[T] == empty

    space.call(there_and_back)


def test_thousands_of_elements_are_one_transaction(space: Namespace) -> None:
    """What does not fit into one message goes in several, and still all at once."""
    kernel = NftKernel()
    many = frozenset(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} . 6 . 80" for n in range(20_000))
    kind = (ADDRESS, PROTOCOL, PORT)
    have = table(T, sets=[Set("s", kind)])
    want = table(T, sets=[Set("s", kind, many)])

    def fill() -> int:
        load(kernel, have)
        before = kernel.generation()
        switch(kernel, have, want)
        assert kernel.read([T]).tables[T] == want
        return kernel.generation() - before

    assert space.call(fill) == 1


def test_verdicts_are_moved(space: Namespace) -> None:
    """A key of a verdict map is added, sent to another chain, and deleted."""
    kernel = NftKernel()
    chains = (Chain("one"), Chain("two"))

    def mapped(**targets: str) -> Table:
        found = {f"10.0.0.{key[1:]}": chain for key, chain in targets.items()}
        return table(T, maps=[VerdictMap("d", (ADDRESS,), found)], chains=chains)

    def moves() -> None:
        have = mapped()
        load(kernel, have)
        for want in (mapped(p1="one", p2="two"), mapped(p1="two", p2="two"), mapped(p2="two")):
            switch(kernel, have, want)
            assert kernel.read([T]).tables[T] == want
            have = want

    space.call(moves)


def program(family: Family, epoch: int, options: LowerOptions) -> Table:
    """Return a table with the rules that carry an epoch, among others."""
    given = ProgramInput(family, epoch, options, ())
    return table(
        JUDGES[family],
        chains=[
            Chain("f", (given.passing(given.tcp), given.fast, rule("counter drop"))),
            Chain("s", (given.stamp(NOT_SPECIAL), rule("return"), given.stamp())),
        ],
    )


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("mask", [0xFFFF0000, 0x0000FFFF, 0x000FF000])
def test_an_epoch_is_written_as_nft_writes_it(space: Namespace, mask: int, family: Family) -> None:
    """The rules of a new epoch, sent as expressions, are listed as those that ``nft`` made."""
    kernel = NftKernel()
    options = LowerOptions(mark_mask=mask)
    name = str(JUDGES[family]).split()

    def listed() -> str:
        return re.sub(r"packets \d+ bytes \d+", "", run("nft", "list", "table", *name))

    def both_ways() -> tuple[str, str]:
        load(kernel, program(family, 1, options))
        switch(kernel, program(family, 1, options), program(family, 0xAB, options))
        raw = listed()
        run("nft", "delete", "table", *name)
        load(kernel, program(family, 0xAB, options))
        return raw, listed()

    raw, by_nft = space.call(both_ways)

    assert raw == by_nft


def test_rules_that_are_replaced_again_are_not_read_again(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells how it numbers the new ones; what another program has done is read anew."""
    kernel, options = NftKernel(), LowerOptions()
    epochs = [program(Family.IPV4, epoch, options) for epoch in range(1, 7)]
    (id_,) = {item.id for item in epochs}
    asked: list[str] = []
    rules = kernel._netfilter.rules

    def counted(family: int, name: str, chain: str) -> list[tuple[int, str]]:
        asked.append(chain)
        return rules(family, name, chain)

    def replaced(number: int) -> list[str]:
        asked.clear()
        switch(kernel, epochs[number - 1], epochs[number])
        assert kernel.read([id_]).tables[id_] == epochs[number]
        return list(asked)

    def again_and_again() -> None:
        monkeypatch.setattr(kernel._netfilter, "rules", counted)
        load(kernel, epochs[0])
        assert replaced(1) == ["f", "s"]
        assert replaced(2) == []
        assert replaced(3) == []
        run("nft", f"flush chain {id_} f; " + "; ".join(_added(epochs[3], "f")))
        assert replaced(4) == ["f", "s"]
        kernel.apply(Transaction((FlushChain(id_, "s"), *_rules(epochs[4], "s")), "by nft"))
        assert replaced(5) == ["f", "s"]

    space.call(again_and_again)


def _rules(have: Table, chain: str) -> list[AddRule]:
    return [AddRule(have.id, chain, item) for item in have.chains[chain].rules]


def _added(have: Table, chain: str) -> list[str]:
    return [command_text(item) for item in _rules(have, chain)]


def test_who_lost_a_race_is_told(space: Namespace) -> None:
    """A transaction that was made for another ruleset than the kernel's is refused."""
    kernel = NftKernel()

    def race() -> None:
        load(kernel, sets(0))
        kernel.generation()
        run("nft", "add", "table", "inet", "somebody")
        (change,) = diff(ruleset([sets(0)]), ruleset([sets(1)]))
        with pytest.raises(LostRaceError):
            kernel.apply(change)
        assert kernel.read([T]).tables[T] == sets(0)

    space.call(race)


def test_an_answer_that_the_socket_has_no_room_for_is_a_refusal(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOBUFS, made by the kernel: refusals that are longer than the receive buffer."""
    kernel, real = NftKernel(), netlink._opened

    def narrow() -> socket.socket:
        channel = real()
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        return channel

    def overrun() -> None:
        load(kernel, sets(0))
        monkeypatch.setattr(netlink, "_opened", narrow)
        kernel._netfilter.close()
        kernel.generation()
        (delete,) = diff(ruleset([sets(9)]), ruleset([sets(0)]))
        with pytest.raises(KernelError, match="no room for its answer"):
            kernel.apply(Transaction(delete.commands * 20, "more refusals than fit"))
        assert kernel.read([T]).tables[T] == sets(0)

    space.call(overrun)


def test_a_refusal_changes_nothing_and_says_why(space: Namespace) -> None:
    """One impossible element refuses the whole transaction."""
    kernel = NftKernel()

    def refused() -> None:
        load(kernel, sets(0))
        kernel.generation()
        (add,) = diff(ruleset([sets(0)]), ruleset([sets(1)]))
        (delete,) = diff(ruleset([sets(1)]), ruleset([sets(0)]))
        with pytest.raises(KernelError, match="No such file"):
            kernel.apply(Transaction((*add.commands[1:], *delete.commands[:1]), "switch"))
        assert kernel.read([T]).tables[T] == sets(0)

    space.call(refused)
