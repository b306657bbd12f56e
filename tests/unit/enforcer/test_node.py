"""One node's tables, kept as they should be: nothing sent twice, repairs, refusals."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from enforcer.errors import KernelError
from enforcer.model.net import Direction
from enforcer.model.objects import Key
from enforcer.nft.fake import FakeKernel
from enforcer.nft.transaction import DeleteTable, Transaction
from enforcer.node import FIRST_PAUSE, LONGEST_PAUSE, NodeTables
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.names import IPV4, TABLES
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import NO_WIRING, PodBridge, SameNode, Step, Wiring
from tests.still_links import StillLinks

DENY = PolicyClass(Direction.INGRESS, (Key("ns", "deny"),), Allowed())


def policy(ingress: PolicyClass | None = DENY) -> CompiledPolicy:
    """Return the policy of a node with one pod."""
    pod = LocalPod(Key("ns", "p"), (ip_address("10.2.0.2"),), ingress)
    return CompiledPolicy("node", (pod,), (ip_network("10.2.0.0/24"),), frozenset())


def tables(kernel: FakeKernel, wiring: Wiring = NO_WIRING) -> NodeTables:
    """Return a node on a fake kernel whose conntrack is empty."""
    return NodeTables(kernel, LowerOptions(), StillLinks(wiring), lambda _mark, _mask: False)


class RefusingKernel(FakeKernel):
    """Refuses transactions for as long as it is told to."""

    refuses = True

    def apply(self, transaction: Transaction) -> None:
        """Refuse, or do as the fake does."""
        if self.refuses:
            raise KernelError("Device or resource busy")
        super().apply(transaction)


class MeddledKernel(FakeKernel):
    """Another program deletes our table as soon as it has been made."""

    meddles = True

    def apply(self, transaction: Transaction) -> None:
        """Do as the fake does, and once what the other program does."""
        super().apply(transaction)
        made = self.read([IPV4]).tables
        if self.meddles and made and made[IPV4].chains:
            self.meddles = False
            super().apply(Transaction((DeleteTable(IPV4),), "sabotage"))


def test_an_unchanged_cluster_sends_nothing() -> None:
    """Equal policies give equal rulesets, and an empty difference sends nothing."""
    kernel = FakeKernel()
    node = tables(kernel)
    node.sync(policy())
    before = len(kernel.applied)

    synced = node.sync(policy())

    assert (synced.transactions, len(kernel.applied)) == (0, before)


def test_a_restart_sends_nothing() -> None:
    """The truth is in the kernel: a daemon that starts anew finds nothing to change."""
    kernel = FakeKernel()
    tables(kernel).sync(policy())
    before = kernel.read(TABLES)

    synced = tables(kernel).sync(policy())

    assert (synced.transactions, synced.repaired) == (0, False)
    assert kernel.read(TABLES) == before


def test_a_table_that_somebody_deleted_is_made_again_and_counted() -> None:
    """Another program's change of our table is noticed by the generation, and put right."""
    kernel = FakeKernel()
    node = tables(kernel)
    node.sync(policy())
    before = kernel.read(TABLES)
    assert not node.disturbed()

    kernel.apply(Transaction((DeleteTable(IPV4),), "sabotage"))

    assert node.disturbed()
    assert node.sync(policy()).repaired
    assert kernel.read(TABLES).tables[IPV4].maps == before.tables[IPV4].maps


def test_a_change_in_the_middle_of_a_sync_is_noticed_after_it() -> None:
    """Who changes our table between our look and the sync's end is not taken for ourselves."""
    kernel = MeddledKernel()
    node = tables(kernel)

    node.sync(policy())

    assert node.disturbed()
    assert node.sync(policy()).repaired
    assert not node.disturbed()


def test_a_change_of_others_tables_is_no_repair() -> None:
    """The generation is everybody's: a proxy's change makes us look, and find nothing."""
    kernel = FakeKernel()
    node = tables(kernel)
    node.sync(policy())

    kernel.apply(Transaction((), "somebody else's table"))

    assert node.disturbed()
    synced = node.sync(policy())
    assert (synced.repaired, synced.transactions) == (False, 0)
    assert not node.disturbed()


def test_a_refused_sync_is_owed_and_reads_the_truth_again() -> None:
    """After a refusal nothing is believed of the kernel that was not read from it."""
    kernel = RefusingKernel()
    node = tables(kernel)
    with pytest.raises(KernelError, match="busy"):
        node.sync(policy())

    kernel.refuses = False

    assert node.sync(policy()).transactions == 2
    assert "10.2.0.2" in kernel.read(TABLES).tables[IPV4].maps["in_d4"].targets


def test_each_way_to_a_pod_is_on_a_step_of_the_ladder() -> None:
    """A routed pod's interface, a bridge by its way, and none where packets were not seen."""
    bridges = (
        PodBridge("br0", way=SameNode.NF_CALL),
        PodBridge("br1", way=SameNode.TURN),
        PodBridge("br2", way=SameNode.TURN, problem="it has ports to other machines"),
        PodBridge("br3", way=SameNode.TURN),
    )
    wiring = Wiring(frozenset({"veth1", "veth2", "br0", "br1", "br2", "br3"}), bridges)
    unproved = StillLinks(wiring, {"br3": "test packets were not seen"})

    synced = NodeTables(FakeKernel(), LowerOptions(), unproved, lambda *_: False).sync(policy())

    assert synced.steps == {Step.ROUTED: 2, Step.NF_CALL: 1, Step.TURN: 1, Step.NONE: 2}
    assert synced.problems == ("test packets were not seen",)


def test_a_bridge_that_hides_packets_is_told() -> None:
    """What may not be seen by our rules is a reason not to be ready."""
    wiring = Wiring(problems=("packets on bridge b0 meet no rule",))

    synced = tables(FakeKernel(), wiring).sync(policy())

    assert synced.problems == ("packets on bridge b0 meet no rule",)


class FlakyLinks:
    """A node on which something was plugged in, while ``ip`` fails once."""

    def __init__(self) -> None:
        self.plugged = frozenset({"veth1"})
        self.fails = False
        self._told = True

    def plug(self, interface: str) -> None:
        """Plug an interface in; the next look at it fails."""
        self.plugged |= {interface}
        self.fails, self._told = True, False

    def connect(self, _compiled: CompiledPolicy) -> Wiring:
        """Say what is plugged in; a change has been told once somebody looks."""
        self._told = True
        if self.fails:
            self.fails = False
            raise KernelError("ip -j link show failed: Dump was interrupted")
        return Wiring(self.plugged)

    def confirm(self) -> dict[str, str]:
        """Say that nothing is unproved."""
        return {}

    def changed(self) -> bool:
        """Say whether somebody has looked since the last change."""
        return not self._told


def test_a_look_at_the_links_that_failed_is_taken_again() -> None:
    """What was plugged in is not forgotten because of an ``ip`` that failed meanwhile."""
    kernel, links = FakeKernel(), FlakyLinks()
    node = NodeTables(kernel, LowerOptions(), links, lambda _mark, _mask: False)
    node.sync(policy())

    links.plug("veth2")
    with pytest.raises(KernelError):
        node.sync(policy())
    node.sync(policy())

    assert kernel.read(TABLES).tables[IPV4].sets["podif"].elements == {'"veth1"', '"veth2"'}


@pytest.mark.parametrize(
    "links",
    [
        pytest.param(StillLinks(Wiring(problems=("bridge b0 is not proved",))), id="no way"),
        pytest.param(StillLinks(unproved={"b0": "test packets were not seen"}), id="unproved"),
        pytest.param(StillLinks(Wiring(bridges=(PodBridge("b0"),))), id="a pod unseen"),
    ],
)
def test_what_nobody_tells_of_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, links: StillLinks
) -> None:
    """A bridge that is not proved, or a pod that no port is known for: soon, then more rarely."""
    now = 1000.0
    monkeypatch.setattr("enforcer.node.time.monotonic", lambda: now)
    node = NodeTables(FakeKernel(), LowerOptions(), links, lambda _mark, _mask: False)
    waits: list[float] = []
    for _ in range(9):
        node.sync(policy())
        synced = now
        while not node.disturbed():
            now += 0.5
        waits.append(now - synced)

    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_PAUSE, LONGEST_PAUSE)


def test_what_is_settled_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes, nothing is asked: a node at rest costs nothing."""
    node = tables(FakeKernel())
    node.sync(policy())
    monkeypatch.setattr("enforcer.node.time.monotonic", lambda: 1e9)

    assert not node.disturbed()
