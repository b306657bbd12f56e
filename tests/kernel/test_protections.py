"""Attacks and accidents: each was possible once, in a first and simpler layout of the rules."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator

import pytest

from enforcer import bridges
from enforcer.model.net import Family
from enforcer.nft import netlink
from enforcer.ruleset.names import BRIDGE
from tests.kernel.netlab import NODE, OUTSIDE, Lab, Pod, Verdict, Wire, echoes
from tests.kernel.policies import compiled, egress, ingress, peers

pytestmark = pytest.mark.kernel

DATAGRAM = socket.SOCK_DGRAM
NLM_F_ACK = 4
IPCTNL_MSG_CT_DELETE = 2
INSIDE = "14.215.0.10"


@pytest.fixture
def bridged() -> Iterator[Lab]:
    """Return a bridged node whose pods serve on port 80."""
    with Lab(Wire.BRIDGED) as built:
        for pod in built.pods:
            built.serve(pod.name, 80)
        yield built


def test_a_pod_cannot_send_in_another_pods_name(lab: Lab) -> None:
    """A source address that lives elsewhere is dropped, though the policy allows its owner."""
    _one, two, three = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(three, INSIDE))]}))
    assert lab.probe("p1", two.ip4, 80, DATAGRAM) is Verdict.DROPPED
    before = _dropped(lab)
    assert lab.probe("p3", two.ip4, 80, DATAGRAM) is Verdict.OPEN
    assert _dropped(lab) == before

    for stolen in (three.ip4, INSIDE):
        lab.spaces["p1"].run("ip", "addr", "add", f"{stolen}/32", "dev", "lo")
        assert lab.probe("p1", two.ip4, 80, DATAGRAM, source=stolen) is Verdict.DROPPED
    assert _dropped(lab) > before
    assert lab.probe("p1", three.ip4, 80, DATAGRAM) is Verdict.OPEN


def test_a_stolen_outside_address_does_not_open_a_pods_own_egress(lab: Lab) -> None:
    """A pod cannot open its way out by pretending that the way in was used first."""
    one = lab.pods[0]
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods, {1: [egress()]}))
    lab.spaces["p2"].run("ip", "addr", "add", f"{INSIDE}/32", "dev", "lo")

    lab.probe("p2", one.ip4, 80, DATAGRAM, source=INSIDE)

    assert lab.probe("p1", INSIDE, 80, DATAGRAM) is Verdict.DROPPED
    assert lab.probe("p3", INSIDE, 80, DATAGRAM) is Verdict.OPEN


def test_a_pod_cannot_speak_to_the_nodes_tunnels(lab: Lab) -> None:
    """A tunnel packet of a pod's own making does not reach a node's VXLAN port."""
    for port in (4789, 4790):
        lab.serve(NODE, port, "192.168.7.1")
        lab.serve(OUTSIDE, port, "192.168.7.2")
    lab.sync(compiled(lab.pods))

    for node in ("192.168.7.1", "192.168.7.2"):
        assert lab.probe("p1", node, 4789, DATAGRAM) is Verdict.DROPPED
        assert lab.probe("p1", node, 4790, DATAGRAM) is Verdict.OPEN


def test_untracked_packets_do_not_reach_isolated_pods(lab: Lab) -> None:
    """A notrack rule of another program is no way round a policy."""
    _one, two, three = lab.pods
    lab.node.run(
        "nft",
        "add table ip raw; add chain ip raw pre { type filter hook prerouting priority -300; };"
        "add rule ip raw pre udp dport 80 notrack; add rule ip raw pre udp sport 80 notrack",
    )
    lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))

    assert lab.probe("p1", two.ip4, 80, DATAGRAM) is Verdict.DROPPED
    assert lab.probe("p1", three.ip4, 80, DATAGRAM) is Verdict.OPEN
    assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED


def test_icmp_errors_reach_an_isolated_client(lab: Lab) -> None:
    """The error that a permitted datagram causes comes back: a closed port, or a smaller MTU."""
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods, {1: [ingress(), egress(peers(INSIDE))]}))
    assert lab.probe("p1", INSIDE, 80, DATAGRAM) is Verdict.OPEN

    assert lab.probe("p1", INSIDE, 9, DATAGRAM) is Verdict.REFUSED

    lab.node.run("ip", "link", "set", "up0", "mtu", "1400")
    assert lab.spaces["p1"].call(_path_mtu, INSIDE) == 1400


def test_a_connection_survives_the_loss_of_its_entry(lab: Lab) -> None:
    """TCP picked up in mid-stream goes on where it is allowed, and stays cut where not."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with lab.connect("p1", two.ip4, 80) as allowed, lab.connect("p2", one.ip4, 80) as outgoing:
        lab.node.call(_flush_conntrack)
        assert echoes(allowed)
        assert echoes(outgoing)

        lab.node.call(_flush_conntrack)
        lab.sync(compiled(lab.pods, {2: [ingress()]}))
        assert not echoes(allowed)


def test_link_local_is_no_way_round_on_a_bridge(bridged: Lab) -> None:
    """Pods of one bridge do not reach each other's link-local addresses; neighbours are found."""
    _, two, three = bridged.pods
    bridged.sync(compiled(bridged.pods, {2: [ingress(peers(three))]}))

    assert bridged.probe("p1", "fe80::ff:fe00:202%eth0", 80, DATAGRAM) is Verdict.DROPPED
    assert bridged.probe("p3", two.ip6, 80, DATAGRAM) is Verdict.OPEN


def test_broadcasts_do_not_reach_isolated_pods_of_a_bridge(bridged: Lab) -> None:
    """A broadcast is dropped where a pod is isolated, and passes where none is."""
    two = bridged.pods[1]
    listener = bridged.spaces["p2"].call(socket.socket, socket.AF_INET, DATAGRAM)
    sender = bridged.spaces["p1"].call(socket.socket, socket.AF_INET, DATAGRAM)
    with listener, sender:
        listener.bind(("0.0.0.0", 82))
        listener.settimeout(0.25)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        bridged.sync(compiled(bridged.pods))
        sender.sendto(b"open", ("255.255.255.255", 82))
        assert listener.recv(100) == b"open"

        bridged.sync(compiled(bridged.pods, {two.number: [ingress()]}))

        sender.sendto(b"isolated", ("255.255.255.255", 82))
        with pytest.raises(TimeoutError):
            listener.recv(100)


def test_a_vlan_tag_does_not_hide_a_frame(bridged: Lab) -> None:
    """A frame with VLAN tag 0 is received like an untagged one, but not shown to the hooks."""
    one, two, three = bridged.pods
    policy = compiled(bridged.pods, {2: [ingress(peers(three))]})
    with bridged.spaces["p2"].call(socket.socket, socket.AF_INET, DATAGRAM) as listener:
        listener.bind(("0.0.0.0", 82))
        listener.settimeout(0.25)
        _send_frame(bridged, one, _tagged_datagram(one, two))
        assert listener.recv(100) == b"hi"

        bridged.sync(policy)

        _send_frame(bridged, one, _tagged_datagram(one, two))
        with pytest.raises(TimeoutError):
            listener.recv(100)
        with bridged.spaces["p3"].call(socket.socket, socket.AF_INET, DATAGRAM) as allowed:
            allowed.sendto(b"hello", (two.ip4, 82))
        assert listener.recv(100) == b"hello"


def test_a_bridge_gets_its_flags_back(bridged: Lab) -> None:
    """Cleaning up leaves the bridge as it was found; while we run it shows its packets."""

    def flags() -> list[str]:
        words = bridged.node.run("ip", "-d", "link", "show", "br0").split()
        return [words[words.index(flag) + 1] for flag in ("nf_call_iptables", "nf_call_ip6tables")]

    assert flags() == ["0", "0"]
    bridged.sync(compiled(bridged.pods))
    assert flags() == ["1", "1"]
    bridged.restart()
    assert bridged.sync(compiled(bridged.pods)).transactions == ()
    assert bridged.node.call(bridges.restore, bridged.have) == ()
    assert flags() == ["0", "0"]


def test_a_mark_is_found_among_connections(lab: Lab) -> None:
    """The filtered dump finds the epoch that a live connection carries, and no other."""
    _one, two, _ = lab.pods
    epoch = lab.sync(compiled(lab.pods)).epochs[Family.IPV4]
    mask = lab.options.mark_mask
    with lab.connect("p1", two.ip4, 80):
        in_use = lab.node.call(netlink.is_mark_in_use, lab.options.mark(epoch), mask)
        other = lab.node.call(netlink.is_mark_in_use, lab.options.mark(epoch + 1), mask)

    assert (in_use, other) == (True, False)


def test_other_programs_bits_of_the_mark_are_left_alone(lab: Lab) -> None:
    """The stamp changes our bits of the conntrack mark and no other."""
    one, two, _ = lab.pods
    lab.node.run(
        "nft",
        "add table ip other; add chain ip other pre { type filter hook prerouting priority -150; };"
        "add rule ip other pre ct state new ct mark set 0x2a",
    )
    epoch = lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]})).epochs[Family.IPV4]

    with lab.connect("p1", two.ip4, 80):
        both = lab.options.mark(epoch) | 0x2A
        assert lab.node.call(netlink.is_mark_in_use, both, 0xFFFFFFFF)


def _dropped(lab: Lab) -> int:
    """Return how many packets both tables' spoof rules have dropped."""
    texts = [lab.node.run("nft", "list", "chain", "ip", "npd", "spoof")]
    if lab.wire.has_bridge:
        texts.append(lab.node.run("nft", "list", "chain", "bridge", "npd", "from4"))
        assert lab.have.tables[BRIDGE].sets["ports"].elements
    return sum(map(int, re.findall(r"counter packets (\d+)", " ".join(texts))))


def _tagged_datagram(sender: Pod, receiver: Pod) -> bytes:
    """Return an Ethernet frame with VLAN tag 0 that carries "hi" to UDP port 82."""
    ethernet = bytes.fromhex(f"{receiver.mac}{sender.mac}".replace(":", ""))
    tag = struct.pack("!HHH", 0x8100, 0, 0x0800)
    udp = struct.pack("!HHHH", 5000, 82, 10, 0) + b"hi"
    ends = socket.inet_aton(sender.ip4) + socket.inet_aton(receiver.ip4)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + ends
    total = sum(struct.unpack("!10H", ip))
    checksum = 0xFFFF - (total % 0xFFFF)
    return ethernet + tag + ip[:10] + struct.pack("!H", checksum) + ip[12:] + udp


def _send_frame(lab: Lab, sender: Pod, frame: bytes) -> None:
    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(frame)

    lab.spaces[sender.name].call(send)


def _path_mtu(address: str) -> int:
    """Send a datagram that must not be cut, and return the MTU that the sender learns."""
    ip_mtu_discover, do, ip_mtu = 10, 2, 14
    with socket.socket(socket.AF_INET, DATAGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, do)
        sock.settimeout(0.25)
        sock.connect((address, 80))
        sock.send(bytes(1450))
        with pytest.raises(OSError, match=r".*"):
            sock.recv(2000)
        return sock.getsockopt(socket.IPPROTO_IP, ip_mtu)


def _flush_conntrack() -> None:
    kind = netlink.NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
    with netlink.Netfilter() as netfilter:
        netfilter._ask(kind, netlink.NLM_F_REQUEST | NLM_F_ACK, b"")
