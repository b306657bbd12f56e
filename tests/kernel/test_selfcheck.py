"""Whether packets between two ports of a bridge meet our rules is proved, and re-decided."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import bridges
from enforcer.nft.kernel import NftKernel
from enforcer.node import NodeTables
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset import names
from enforcer.ruleset.names import CURRENT, TABLES
from enforcer.selfcheck import Bridge, prove_nf_call, prove_turn
from enforcer.wiring import BridgeFlag, SameNode, Step
from tests.kernel.netlab import NODE, OUTSIDE, Lab, Verdict, Wire, echoes, wait_until
from tests.kernel.policies import compiled, ingress, peers

pytestmark = pytest.mark.kernel

BRIDGE = Bridge("br0", 1500, "fe:00:00:00:00:01")
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
READ_ONLY = MS_BIND | 0x20 | 0x1  # MS_REMOUNT, MS_RDONLY


@pytest.fixture
def bridged() -> Iterator[Lab]:
    """Return a bridged node whose pods serve on port 80."""
    with Lab(Wire.BRIDGED) as built:
        for pod in built.pods:
            built.serve(pod.name, 80)
        yield built


def test_a_bridge_that_hides_its_packets_is_found_out(bridged: Lab) -> None:
    """Without the bridge's flags no packet meets the hook, in neither family."""
    problem = bridged.node.call(prove_nf_call, BRIDGE)

    assert "IPv4, IPv6" in problem


def test_a_bridge_that_shows_one_family_is_found_out(bridged: Lab) -> None:
    """Each family has its flag and is proved by itself."""
    bridged.node.run("ip", "link", "set", "br0", "type", "bridge", "nf_call_iptables", "1")

    problem = bridged.node.call(prove_nf_call, BRIDGE)

    assert "(IPv6)" in problem


def test_a_bridge_that_shows_its_packets_is_proved(bridged: Lab) -> None:
    """With both flags the proof succeeds, with our tables loaded too, and leaves nothing behind."""
    flags = ("nf_call_iptables", "1", "nf_call_ip6tables", "1")
    bridged.node.run("ip", "link", "set", "br0", "type", "bridge", *flags)
    before = bridged.node.run("ip", "-br", "link")

    assert bridged.node.call(prove_nf_call, BRIDGE) == ""
    bridged.sync(compiled(bridged.pods, {2: [ingress()]}))
    assert bridged.node.call(prove_nf_call, BRIDGE) == ""

    assert bridged.node.run("ip", "-br", "link") == before
    assert "selfcheck" not in bridged.node.run("nft", "list", "tables")
    assert bridged.probe("p1", bridged.pods[2].ip4, 80) is Verdict.OPEN
    assert bridged.probe("p1", bridged.pods[1].ip4, 80) is Verdict.DROPPED
    assert bridged.probe(NODE, bridged.pods[1].ip4, 80) is Verdict.OPEN


def test_rules_that_do_not_turn_are_found_out() -> None:
    """That packets are turned to the bridge is proved with the rules that do it, or not at all."""
    with Lab(Wire.TURNED) as lab:
        assert "could not be proved" in lab.node.call(prove_turn, BRIDGE)
        lab.sync(compiled(lab.pods))
        assert lab.node.call(prove_turn, BRIDGE) == ""
        before = lab.node.call(lambda: NftKernel().read(TABLES))

        lab.node.run("nft", "flush", "chain", "bridge", "npd", "turn_fe0000000001")
        assert "IPv4, IPv6" in lab.node.call(prove_turn, BRIDGE)

        sets = lab.node.call(lambda: NftKernel().read(TABLES)).tables
        assert {id_: table.sets for id_, table in sets.items()} == {
            id_: table.sets for id_, table in before.tables.items()
        }


def test_no_proof_is_a_sentence(bridged: Lab) -> None:
    """A bridge that does not exist is a problem with its name, not a traceback."""
    assert "br9" in bridged.node.call(prove_nf_call, Bridge("br9", 1500, ""))


def test_without_br_netfilter_packets_are_turned(bridged: Lab) -> None:
    """The next step of the ladder is taken by itself, isolates, and changes no global sysctl."""
    bridged.node.call(_hide_br_netfilter)
    bridged.show_packets(SameNode.AUTO)
    everywhere = Path("/proc/sys/net/ipv4/conf/all/send_redirects")
    before = bridged.node.call(everywhere.read_text)

    bridged.sync(compiled(bridged.pods, {2: [ingress(peers(bridged.pods[2]))]}))

    two = bridged.pods[1]
    for address in (two.ip4, two.ip6):
        assert bridged.probe("p1", address, 80) is Verdict.DROPPED
        assert bridged.probe("p3", address, 80) is Verdict.OPEN
    assert _sends_redirects(bridged) == "0"
    assert bridged.node.call(everywhere.read_text) == before
    assert bridged.node.call(bridges.restore, bridged.have) == ()
    assert _sends_redirects(bridged) == "1"


def test_read_only_sysctls_are_no_hindrance(bridged: Lab) -> None:
    """Turning works with CAP_NET_ADMIN alone, as in a container, whose /proc/sys is read-only."""
    bridged.node.call(_hide_br_netfilter)
    bridged.node.call(_protect_sysctls)
    bridged.show_packets(SameNode.AUTO)

    wiring = bridged.node.call(bridged.links.connect, compiled(bridged.pods))

    assert wiring.problems == ()
    assert _sends_redirects(bridged) == "0"


def test_where_no_step_holds_there_is_a_problem(bridged: Lab) -> None:
    """Packets of other machines cannot be turned: without br_netfilter the node says so."""
    bridged.node.call(_hide_br_netfilter)
    bridged.node.run("ip", "link", "add", "uplink", "type", "vxlan", "id", "7", "dstport", "4790")
    bridged.node.run("ip", "link", "set", "uplink", "master", "br0", "up")
    bridged.show_packets(SameNode.AUTO)

    wiring = bridged.node.call(bridged.links.connect, compiled(bridged.pods))

    assert len(wiring.problems) == 1
    assert "lacks br_netfilter" in wiring.problems[0]
    assert "ports to other machines (uplink)" in wiring.problems[0]


def test_a_flag_that_somebody_switches_off_is_noticed_and_proved_again(bridged: Lab) -> None:
    """A bridge that stops to show its packets is put right as soon as the links are looked at."""
    policy = compiled(bridged.pods, {2: [ingress()]})
    bridged.sync(policy)
    _until_quiet(bridged, policy)

    bridged.node.run("ip", "link", "set", "br0", "type", "bridge", "nf_call_iptables", "0")
    wait_until(bridged.links.changed)
    assert bridged.probe("p1", bridged.pods[1].ip4, 80) is Verdict.OPEN

    bridged.sync(policy)
    assert bridged.probe("p1", bridged.pods[1].ip4, 80) is Verdict.DROPPED


@pytest.mark.parametrize("way", [SameNode.NF_CALL, SameNode.TURN], ids=lambda way: way.value)
def test_a_bridge_that_is_plugged_in_while_we_run_is_readied(way: SameNode) -> None:
    """Pods that move from routed links to a bridge stay isolated from each other."""
    with Lab(Wire.ROUTED) as lab:
        lab.show_packets(way)
        for pod in lab.pods:
            lab.serve(pod.name, 80)
        policy = compiled(lab.pods, {2: [ingress(peers(lab.pods[2]))]})
        lab.sync(policy)
        _until_quiet(lab, policy)

        _move_to_a_bridge(lab)
        wait_until(lab.links.changed)
        lab.sync(policy)

        wait_until(lambda: lab.probe("p3", lab.pods[1].ip4, 80) is Verdict.OPEN)
        assert lab.probe("p1", lab.pods[1].ip4, 80) is Verdict.DROPPED
        assert lab.probe("p1", lab.pods[2].ip4, 80) is Verdict.OPEN
        assert lab.have.tables.keys() == {*CURRENT}


def test_a_connection_outlives_the_change_from_one_step_to_the_other(bridged: Lab) -> None:
    """What is allowed goes on when the bridge's packets are turned instead of handed over."""
    one, two, _ = bridged.pods
    policy = compiled(bridged.pods, {2: [ingress(peers(one))]})
    bridged.sync(policy)
    with bridged.connect("p1", two.ip4, 80) as kept:
        bridged.show_packets(SameNode.TURN)
        bridged.sync(policy)

        assert echoes(kept)
        assert bridged.probe("p3", two.ip4, 80) is Verdict.DROPPED


def test_other_bridges_are_left_alone(bridged: Lab) -> None:
    """A bridge without pods keeps its flags, and passes what it passed before."""
    outside = bridged.spaces[OUTSIDE].name
    for number in (8, 9):
        text = f"link add x{number} type veth peer name far{number} netns {outside}"
        bridged.node.run("ip", *text.split())
    bridged.node.run(
        "ip",
        "-batch",
        "-",
        text="link add br9 type bridge\nlink set br9 up\n"
        "link set x8 master br9 up\nlink set x9 master br9 up\n",
    )
    before = _flags(bridged, "br9")

    bridged.sync(compiled(bridged.pods, {2: [ingress()]}))

    assert _flags(bridged, "br9") == before
    assert _flags(bridged, "br0") != before
    elements = bridged.have.tables[names.BRIDGE].sets["foreign"].elements
    assert elements == {'"x8"', '"x9"'}


def _until_quiet(lab: Lab, policy: CompiledPolicy) -> None:
    """Sync until the proof's own links are forgotten."""

    def quiet() -> bool:
        lab.sync(policy)
        return not lab.links.changed()

    wait_until(quiet)


def _move_to_a_bridge(lab: Lab) -> None:
    """Plug the pods' veths into a bridge that takes over their routes."""
    for pod in lab.pods:
        device = f"veth{pod.number}"
        lab.node.run("ip", "route", "flush", "dev", device)
        lab.node.run("ip", "-6", "route", "flush", "dev", device)
    lines = ["link add br0 address fe:00:00:00:00:01 type bridge", "link set br0 up"]
    lines += ["addr add 10.2.0.254/24 dev br0", "addr add fd00:2::fe/64 dev br0 nodad"]
    lines += [f"link set veth{pod.number} master br0" for pod in lab.pods]
    lab.node.run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))
    for pod in lab.pods:
        space = lab.spaces[pod.name]
        space.run("ip", "addr", "add", f"{pod.ip4}/24", "dev", "eth0")
        space.run("ip", "route", "replace", "default", "via", "10.2.0.254")


def _flags(lab: Lab, bridge: str) -> list[str]:
    words = lab.node.run("ip", "-d", "link", "show", bridge).split()
    return [words[words.index(flag.value) + 1] for flag in (BridgeFlag.IPV4, BridgeFlag.IPV6)]


def _sends_redirects(lab: Lab) -> str:
    return lab.node.run("cat", "/proc/sys/net/ipv4/conf/br0/send_redirects").strip()


def _hide_br_netfilter() -> None:
    """Take br_netfilter's sysctls out of this thread's sight, as where it is not loaded."""
    libc = ctypes.CDLL(None, use_errno=True)
    for result in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.mount(b"none", b"/proc/sys/net/bridge", b"tmpfs", 0, None),
    ):
        assert result == 0, os.strerror(ctypes.get_errno())


def _protect_sysctls() -> None:
    """Make /proc/sys read-only for this thread, as container runtimes do."""
    libc = ctypes.CDLL(None, use_errno=True)
    for source, flags in ((b"/proc/sys", MS_BIND | MS_REC), (None, READ_ONLY)):
        result = libc.mount(source, b"/proc/sys", None, flags, None)
        assert result == 0, os.strerror(ctypes.get_errno())


def test_the_step_that_was_reached_is_told(lab: Lab) -> None:
    """Of each routed pod, or of the bridge: what the metric of the ladder's steps counts."""
    tables = NodeTables(lab.kernel, lab.options, lab.links)

    synced = lab.node.call(tables.sync, compiled(lab.pods))

    steps = {
        Wire.ROUTED: {Step.ROUTED: len(lab.pods)},
        Wire.BRIDGED: {Step.NF_CALL: 1},
        Wire.TURNED: {Step.TURN: 1},
    }
    assert synced.steps == steps[lab.wire]


def test_a_bridge_without_a_way_is_on_no_step(bridged: Lab) -> None:
    """Packets that meet no rule: counted apart, with the reason."""
    bridged.node.call(_hide_br_netfilter)
    tables = NodeTables(bridged.kernel, bridged.options, bridged.links)

    synced = bridged.node.call(tables.sync, compiled(bridged.pods))

    assert synced.steps == {Step.NONE: 1}
    assert len(synced.problems) == 1
