"""Whatever somebody does to our tables by hand: noticed, put right, counted, as packets show it.

Where it opens or closes what a policy says, that is seen first: a repair of nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from enforcer.errors import KernelError
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import HookName
from enforcer.node import MOST_REFUSALS, NodeTables, Synced
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import BRIDGE, IPV4, TABLES
from tests.kernel.netlab import Lab, Verdict, Wire
from tests.kernel.policies import compiled, egress, ingress, peers

pytestmark = pytest.mark.kernel

OPENS = {
    "everything flushed": "flush ruleset",
    "the table deleted": "delete table ip npd",
    "the table asleep": "add table ip npd {{ flags dormant; }}",
    "a table of others": "delete table ip npd; add table ip npd; add counter ip npd x",
    "the hook emptied": "flush chain ip npd forward",
    "the hook deleted": "flush chain ip npd forward; delete chain ip npd forward",
    "a hook that accepts": (
        "flush chain ip npd forward; delete chain ip npd forward; "
        "add chain ip npd forward {{ type filter hook forward priority -5; policy accept; }}"
    ),
    "accept at the top": "insert rule ip npd forward accept",
    "accept in the middle": (
        "insert rule ip npd fresh_tcp accept; insert rule ip npd judge accept"
    ),
    "accept in the class": "insert rule ip npd {chain} accept",
    "accept at the end": "insert rule ip npd deny accept",
    "a rule replaced": "replace rule ip npd deny handle {handle} accept",
    "a rule deleted": "delete rule ip npd deny handle {handle}",
    "the class emptied": "flush chain ip npd {chain}",
    "a pod's dispatch deleted": "delete element ip npd in_d4 {{ 10.2.0.2 }}",
    "every pod's dispatch deleted": "flush map ip npd in_d4",
    "a pod's dispatch moved": (
        "delete element ip npd in_d4 {{ 10.2.0.2 }}; "
        "add element ip npd in_d4 {{ 10.2.0.2 : jump shortcut }}"
    ),
    "a peer added": "add element ip npd {peers} {{ 10.2.0.1 }}",
}
CLOSES = {
    "a peer deleted": "delete element ip npd {peers} {{ 10.2.0.3 }}",
    "every peer deleted": "flush set ip npd {peers}",
    "every pod deleted": "flush set ip npd pods4",
    "drop at the top": "insert rule ip npd forward drop",
}
DOES_NEITHER = {
    "another policy of the hook": (
        "add chain ip npd forward {{ type filter hook forward priority -5; policy drop; }}"
    ),
    "a chain renamed": "rename chain ip npd unknown stranger",
    "a chain more": "add chain ip npd stranger",
    "a hook more": (
        "add chain ip npd stranger {{ type filter hook forward priority 7; policy accept; }}"
    ),
    "a set more": "add set ip npd stranger {{ type ipv4_addr; }}",
    "a rule more": "add rule ip npd unknown counter",
    "an interface more": 'add element ip npd podif {{ "stranger" }}',
}


@dataclass(frozen=True)
class Guarded:
    """A node on which p3 alone may reach p2, and what keeps it so."""

    lab: Lab
    tables: NodeTables
    policy: CompiledPolicy

    def breaks(self, commands: str) -> None:
        """Do something by hand."""
        inet = self.lab.node.call(NftKernel().read, TABLES).tables[IPV4]
        chain = inet.maps["in_d4"].targets["10.2.0.2"]
        peers_ = next(name for name in inet.sets if name.startswith("allow_in") and "peer4" in name)
        listed = self.lab.node.run("nft", "-a", "list", "chain", "ip", "npd", "deny")
        handle = next(line for line in listed.splitlines() if "drop" in line).rpartition(" ")[2]
        self.lab.node.run("nft", commands.format(chain=chain, peers=peers_, handle=handle))

    def is_open(self, client: str) -> bool:
        """Whether a client reaches p2."""
        return self.lab.probe(client, self.lab.pods[1].ip4, 80) is Verdict.OPEN

    def is_put_right(self) -> bool:
        """Let it be noticed and put right, as the daemon does every two seconds."""
        assert self.lab.node.call(self.tables.disturbed)
        repaired = self._sync().repaired
        anew = NodeTables(NftKernel(), self.lab.options, self.lab.links)
        assert self.lab.node.call(anew.sync, self.policy).transactions == 0
        return repaired and not self.is_open("p1") and self.is_open("p3")

    def _sync(self) -> Synced:
        """Sync; what the kernel refuses is tried again, as the daemon does."""
        for _ in range(MOST_REFUSALS):
            with suppress(KernelError):
                return self.lab.node.call(self.tables.sync, self.policy)
        return self.lab.node.call(self.tables.sync, self.policy)


def guarded(lab: Lab) -> Guarded:
    """Return the node, in sync."""
    for pod in lab.pods:
        lab.serve(pod.name, 80)
    policy = compiled(lab.pods, {2: [ingress(peers(lab.pods[2]))], 1: [egress(peers(*lab.pods))]})
    tables = NodeTables(NftKernel(), lab.options, lab.links)
    lab.node.call(tables.sync, policy)
    return Guarded(lab, tables, policy)


@pytest.fixture(scope="module")
def routed() -> Iterator[Guarded]:
    """Return a node with routed pods."""
    with Lab(Wire.ROUTED) as lab:
        yield guarded(lab)


@pytest.fixture(scope="module")
def turned() -> Iterator[Guarded]:
    """Return a node whose pods hang on a bridge that turns their packets."""
    with Lab(Wire.TURNED) as lab:
        yield guarded(lab)


@pytest.mark.parametrize("commands", OPENS.values(), ids=OPENS.keys())
def test_what_opens_a_pod_is_put_right(routed: Guarded, commands: str) -> None:
    """Who is denied gets through, and no longer after the next look."""
    routed.breaks(commands)
    assert routed.is_open("p1")

    assert routed.is_put_right()


@pytest.mark.parametrize("commands", CLOSES.values(), ids=CLOSES.keys())
def test_what_closes_a_pod_is_put_right(routed: Guarded, commands: str) -> None:
    """Who is allowed is cut off, and no longer after the next look."""
    routed.breaks(commands)
    assert not routed.is_open("p3")

    assert routed.is_put_right()


@pytest.mark.parametrize("commands", DOES_NEITHER.values(), ids=DOES_NEITHER.keys())
def test_what_packets_do_not_show_is_put_right(routed: Guarded, commands: str) -> None:
    """The tables are ours: what is in them is what we put there."""
    routed.breaks(commands)

    assert routed.is_put_right()


def test_a_bridges_table_that_is_deleted_is_made_again(turned: Guarded) -> None:
    """Without it the bridge hands frames from pod to pod, and no rule sees them."""
    turned.breaks("delete table bridge npd")
    assert turned.is_open("p1")

    assert turned.is_put_right()


@pytest.mark.parametrize("hook", [HookName.PREROUTING, HookName.FORWARD])
def test_a_bridges_chains_that_are_emptied_are_filled_again(
    turned: Guarded, hook: HookName
) -> None:
    """Each chain of the bridge's table, whatever the others still stop."""
    bridge = turned.lab.node.call(NftKernel().read, TABLES).tables[BRIDGE]
    names = [one.name for one in bridge.chains.values() if one.hook and one.hook.name is hook]
    turned.breaks("; ".join(f"flush chain bridge npd {name}" for name in names))

    assert names
    assert turned.is_put_right()
