from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enforcer import fastpath
from enforcer.errors import KernelError, MissingError
from enforcer.nft.diff import diff
from enforcer.nft.fake import FakeKernel
from enforcer.nft.objects import Chain, Flowtable, Table, TableFamily, TableId, rule, ruleset, table
from enforcer.nft.transaction import AddFlowtable, AddTable, Transaction
from enforcer.wiring import FastPath

ID = TableId(TableFamily.INET, "t")
PODS = frozenset({"veth1"})


def link(name: str, kind: str = "veth", *flags: str) -> dict[str, Any]:
    """Return a link as ``ip -j`` prints it; up unless flags are given."""
    return {"ifname": name, "flags": flags or ("UP",), "linkinfo": {"info_kind": kind}}


LINKS = [
    link("veth1"),
    link("eth0"),
    link("down0", "veth", "BROADCAST"),
    link("lo", "", "LOOPBACK"),
]
ROUTES = [
    {"dst": "default", "gateway": "192.168.0.1", "dev": "eth0"},
    {"dst": "10.2.0.1", "dev": "veth1"},
    {"dst": "10.9.0.0/16", "dev": "down0"},
    {"dst": "10.8.0.0/16", "dev": "lo"},
    {"dst": "10.7.0.0/16", "type": "blackhole"},
]


def test_the_short_cut_joins_pods_and_the_ways_out() -> None:
    """Interfaces that are up and that a route leads to; no loopback."""
    assert fastpath.interfaces(LINKS, ROUTES, PODS) == {"veth1", "eth0"}


def test_a_pod_bridge_has_no_short_cut() -> None:
    """Frames between its ports never enter by an interface of the node."""
    links = [*LINKS, link("br0", "bridge")]

    assert fastpath.interfaces(links, ROUTES, frozenset({"br0"})) == frozenset()


def test_a_node_without_pods_has_no_short_cut() -> None:
    """Nothing that we judge passes there."""
    assert fastpath.interfaces(LINKS, ROUTES, frozenset()) == frozenset()


def test_a_fast_path_that_is_asked_for_and_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``on`` refuses a kernel without flowtables; ``auto`` takes it as it is."""
    monkeypatch.setattr(fastpath, "is_supported", lambda: False)

    fastpath.check(FastPath.AUTO)
    with pytest.raises(MissingError, match="no flowtables"):
        fastpath.check(FastPath.ON)


def shortcut(epoch: int, *devices: str) -> Table:
    """Return a table whose short cut is that of an epoch."""
    name = f"fast_{epoch}"
    made = table(ID, chains=[Chain("shortcut", (rule(f"flow add @{name}"), rule("accept")))])
    return replace(made, flowtables={name: Flowtable(name, frozenset(devices))})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (shortcut(1, "a", "b"), shortcut(2, "a", "b")),
        (shortcut(1, "a", "b"), shortcut(1, "a")),
        (table(ID, chains=[Chain("shortcut", (rule("accept"),))]), shortcut(1, "a")),
        (shortcut(1, "a"), table(ID, chains=[Chain("shortcut", (rule("accept"),))])),
    ],
    ids=["a new epoch", "an interface went", "switched on", "switched off"],
)
def test_a_short_cut_is_emptied_in_the_transaction_that_changes_it(
    before: Table, after: Table
) -> None:
    """One transaction, in an order that the kernel takes; nothing of the old one is left."""
    kernel = FakeKernel()
    for transaction in diff(ruleset([]), ruleset([before])):
        kernel.apply(transaction)

    (switch,) = diff(ruleset([before]), ruleset([after]))
    kernel.apply(switch)

    assert kernel.read([ID]) == ruleset([after])


def test_an_interface_is_in_one_short_cut_at_most() -> None:
    """As the kernel has it, within one table."""
    taken = AddFlowtable(ID, Flowtable("one", frozenset({"a"})))
    again = AddFlowtable(ID, Flowtable("two", frozenset({"a", "b"})))

    with pytest.raises(KernelError, match="File exists"):
        FakeKernel().apply(Transaction((AddTable(ID), taken, again)))
