"""What has to go on working through a deny-all: protections must not stop it."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from enforcer.policy.compiled import CompiledPolicy
from tests.kernel import frames
from tests.kernel.frames import BROADCAST, ethernet, ip, send_frames, udp
from tests.kernel.netlab import NODE, OUTSIDE, SILENCE_SECONDS, Lab, Verdict, Wire, family
from tests.kernel.policies import TCP, compiled, egress, ingress, peer_ports, peers

pytestmark = pytest.mark.kernel

INSIDE = {4: "14.215.0.10", 6: "fd00:3::10"}
FAMILIES = pytest.mark.parametrize("version", [4, 6])
IP_RECVERR, IPV6_RECVERR, EHOSTUNREACH = 11, 25, 113
PATH_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
"""IP_MTU of linux/in.h and IPV6_MTU of linux/in6.h, with their levels."""


def deny_all(lab: Lab) -> CompiledPolicy:
    """Return the policy that isolates every pod in both directions."""
    return compiled(lab.pods, {pod.number: [ingress(), egress()] for pod in lab.pods})


def test_a_pod_gets_its_address_by_dhcp(lab: Lab) -> None:
    """A pod without an address asks everybody, and hears its node's answer to everybody."""
    lab.sync(deny_all(lab))
    one = lab.pods[0]
    ends = "0.0.0.0", "255.255.255.255"
    question = ip(ends, frames.UDP, udp(ends, (68, 67), b"discover"))
    with _bound(lab, NODE, 67) as server, _bound(lab, one.name, 68) as client:
        lab.spaces[one.name].call(send_frames, "eth0", [ethernet((one.mac, BROADCAST), question)])
        assert server.recv(100) == b"discover"

        server.sendto(b"offer", ("10.2.0.255" if lab.wire.has_bridge else one.ip4, 68))
        assert client.recv(100) == b"offer"


def test_the_nodes_own_dns_cache_answers(lab: Lab) -> None:
    """An address that is the node's but in no list, like NodeLocal DNSCache's, is the node's."""
    lab.node.run("ip", "addr", "add", "169.254.20.10/32", "dev", "lo")
    lab.serve(NODE, 53, "169.254.20.10")
    lab.sync(deny_all(lab))

    assert lab.probe("p1", "169.254.20.10", 53, socket.SOCK_DGRAM) is Verdict.OPEN
    assert lab.probe("p1", "169.254.20.10", 53) is Verdict.OPEN


def test_the_node_reaches_its_pods_from_each_of_its_addresses(lab: Lab) -> None:
    """A second address, and 127.0.0.1 by a NodePort: the node may always reach its pods."""
    two = lab.pods[1]
    lab.node.run("ip", "addr", "add", "192.168.7.50/32", "dev", "lo")
    lab.node.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    lab.node.run(
        "nft",
        "-f",
        "-",
        text=f"""table ip proxy {{
            chain output {{
                type nat hook output priority -100;
                ip daddr 127.0.0.1 tcp dport 30080 dnat to {two.ip4}:80
            }}
            chain postrouting {{
                type nat hook postrouting priority 100;
                ip saddr 127.0.0.1 ip daddr {two.ip4} masquerade
            }}
        }}""",
    )
    lab.sync(deny_all(lab))

    assert lab.probe(NODE, two.ip4, 80, source="192.168.7.50") is Verdict.OPEN
    assert lab.probe(NODE, "127.0.0.1", 30080) is Verdict.OPEN
    assert lab.probe(NODE, two.ip6, 80) is Verdict.OPEN
    assert lab.probe("p1", two.ip4, 80) is Verdict.DROPPED


def test_a_service_that_its_node_backs_is_open(lab: Lab) -> None:
    """The API server's Service leads to the own node, which a pod may always reach."""
    lab.serve(NODE, 6443, "192.168.7.1")
    chain = "add chain ip proxy pre { type nat hook prerouting priority -100; }"
    rule = "add rule ip proxy pre ip daddr 10.96.0.2 tcp dport 443 dnat to 192.168.7.1:6443"
    lab.node.run("nft", f"add table ip proxy; {chain}; {rule}")
    lab.sync(deny_all(lab))

    assert lab.probe("p1", "10.96.0.2", 443) is Verdict.OPEN


@FAMILIES
def test_traceroute_sees_the_node(lab: Lab, version: int) -> None:
    """A datagram whose hops are used up at the node is answered to an isolated client."""
    target = INSIDE[version]
    lab.sync(compiled(lab.pods, {1: [ingress(), egress(peers(target))]}))

    assert lab.spaces["p1"].call(_first_hop_error, target) == EHOSTUNREACH


@FAMILIES
def test_echo_requests_are_judged_and_their_replies_pass(lab: Lab, version: int) -> None:
    """Ping is a connection like others: who may reach a pod gets an answer, both ways."""
    addresses = [pod.ip4 if version == 4 else pod.ip6 for pod in lab.pods]
    for pod in lab.pods:
        lab.spaces[pod.name].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 0")
    lab.sync(compiled(lab.pods, {2: [ingress(peers(lab.pods[2]))]}))

    assert lab.spaces["p3"].call(_ping, addresses[1])
    assert lab.spaces["p2"].call(_ping, addresses[0])
    assert not lab.spaces["p1"].call(_ping, addresses[1])


@FAMILIES
def test_the_path_mtu_is_found(lab: Lab, version: int) -> None:
    """An allowed connection learns of a narrow way behind its node, through a deny-all."""
    target = INSIDE[version]
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods, {1: [ingress(), egress(peers(target))]}))
    # The way there, not the interface: that would drop the long answers of older kernels' veth.
    gateway = {4: "192.168.7.2", 6: "fd00:7::2"}[version]
    lab.node.run("ip", "route", "replace", str(target), "via", gateway, "mtu", "1400")

    with lab.connect("p1", target, 80) as sock:
        assert sock.getsockopt(*PATH_MTU[version]) > 1400
        sock.settimeout(5)
        sock.sendall(bytes(20_000))
        received = 0
        while received < 20_000:
            received += len(sock.recv(65536))
        assert sock.getsockopt(*PATH_MTU[version]) == 1400


@FAMILIES
def test_a_datagram_in_fragments_is_judged_as_one(lab: Lab, version: int) -> None:
    """What is longer than any packet arrives whole where it is allowed, and nowhere else."""
    addresses = [pod.ip4 if version == 4 else pod.ip6 for pod in lab.pods]
    lab.sync(compiled(lab.pods, {2: [ingress(peers(lab.pods[0]))]}))

    assert lab.spaces["p1"].call(_is_echoed, addresses[1], 4000)
    assert not lab.spaces["p3"].call(_is_echoed, addresses[1], 4000)


@FAMILIES
def test_one_way_datagrams_and_a_server_that_alone_sends_go_on(lab: Lab, version: int) -> None:
    """What never gets an answer is judged again in a new epoch like any connection."""
    one, two, three = lab.pods
    address = two.ip4 if version == 4 else two.ip6
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one, three))]}))
    client = lab.spaces["p1"].call(socket.socket, family(address), socket.SOCK_DGRAM)
    with _bound(lab, "p2", 9000, version) as server, client, ExitStack() as stack:
        listener = lab.spaces["p2"].call(_listener, version)
        stack.enter_context(listener)
        reader = stack.enter_context(
            lab.spaces["p1"].call(socket.create_connection, (address, 9001))
        )
        writer = stack.enter_context(listener.accept()[0])
        for number in range(3):
            lab.sync(compiled(lab.pods, {2: [ingress(peers(one), f"epoch-{number}")]}))
            client.sendto(b"one way", (address, 9000))
            assert server.recv(100) == b"one way"
            writer.sendall(b"news")
            reader.settimeout(5)
            assert reader.recv(100) == b"news"


def test_both_ends_may_open_a_connection_at_once(lab: Lab) -> None:
    """A simultaneous open (RFC 9293, 3.5) is one connection, allowed by who is its client."""
    one, two, _ = lab.pods
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    hold = (
        "add table inet hold; add chain inet hold f { type filter hook prerouting priority -250; }"
    )
    lab.node.run("nft", f"{hold}; add rule inet hold f tcp dport {{ 7001, 7002 }} drop")
    first = lab.spaces["p1"].call(_connecting, (one.ip4, 7001), (two.ip4, 7002))
    second = lab.spaces["p2"].call(_connecting, (two.ip4, 7002), (one.ip4, 7001))
    lab.node.run("nft", "delete table inet hold")

    with first, second:
        assert select.select([], [first], [], 10)[1] == [first]
        first.settimeout(5)
        second.settimeout(5)
        first.sendall(b"hello")
        assert second.recv(100) == b"hello"


def test_a_port_is_used_again_within_time_wait(lab: Lab) -> None:
    """A client that comes back from the same port is a new connection, and judged as one."""
    one, two, three = lab.pods
    listener = lab.spaces["p2"].call(_listener, 4)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with listener:
        for _ in range(3):
            client = lab.spaces["p1"].call(_from_port, 45000, (two.ip4, 9001))
            server = listener.accept()[0]
            server.close()  # the side that closes first is the one that waits
            assert client.recv(10) == b""
            client.close()

        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))
        with pytest.raises(TimeoutError):
            lab.spaces["p1"].call(_from_port, 45000, (two.ip4, 9001))


def test_a_helpers_expectation_opens_nothing(lab: Lab) -> None:
    """A connection that FTP announces is judged like any other, though it is "related"."""
    one, two, _ = lab.pods
    lab.node.run(
        "nft",
        'add table ip help; add ct helper ip help ftp { type "ftp" protocol tcp; };'
        "add chain ip help pre { type filter hook prerouting priority -150; };"
        'add rule ip help pre tcp dport 21 ct helper set "ftp"',
    )
    listeners = [lab.spaces["p2"].call(_listener, 4, port) for port in (21, 4001)]
    listeners[1].settimeout(SILENCE_SECONDS)
    control_only = ingress(peer_ports([one], (TCP, 21)))
    lab.sync(compiled(lab.pods, {1: [egress(peers(two))], 2: [control_only]}))
    with listeners[0], listeners[1]:
        control = lab.spaces["p1"].call(socket.create_connection, (two.ip4, 21))
        server = listeners[0].accept()[0]
        with control, server:
            server.sendall(b"220 ready\r\n")  # the helper reads from the second line on
            assert control.recv(100).startswith(b"220")
            server.sendall(
                f"227 Entering Passive Mode ({two.ip4.replace('.', ',')},15,161)\r\n".encode()
            )
            assert control.recv(100).startswith(b"227")
            assert "ftp" in lab.node.run("conntrack", "-L", "expect")

            assert lab.probe("p1", two.ip4, 4001) is Verdict.DROPPED
            with pytest.raises(TimeoutError):
                listeners[1].accept()  # who is let in would have been met with silence, too


@FAMILIES
def test_a_pod_does_not_speak_to_its_node_in_anothers_name(lab: Lab, version: int) -> None:
    """What a proxy of the node would open for somebody else it does not open for a pod."""
    one, _, three = lab.pods
    target = "192.168.7.1" if version == 4 else "fd00:7::1"
    forged = three.ip4 if version == 4 else three.ip6
    own = one.ip4 if version == 4 else one.ip6
    router = "fe:00:00:00:00:01" if lab.wire is not Wire.ROUTED else "fe:ff:ff:ff:ff:01"

    def arrives(server: socket.socket, source: str) -> bool:
        ends = source, target
        packet = ip(ends, frames.UDP, udp(ends, (40000, 9002), source.encode()))
        lab.spaces["p1"].call(send_frames, "eth0", [ethernet((one.mac, router), packet)])
        try:
            return server.recv(100) == source.encode()
        except TimeoutError:
            return False

    with _bound(lab, NODE, 9002, version) as server:
        # Linux itself may drop it (rp_filter); where it does not, we do.
        lab.sync(compiled(lab.pods))
        server.settimeout(0.5)
        assert not arrives(server, forged)
        server.settimeout(5)
        assert arrives(server, own)


@contextmanager
def _bound(lab: Lab, place: str, port: int, version: int = 4) -> Iterator[socket.socket]:
    """Return a UDP socket of a namespace that hears everybody."""
    kind = socket.AF_INET if version == 4 else socket.AF_INET6
    with lab.spaces[place].call(socket.socket, kind, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("", port))
        sock.settimeout(5)
        yield sock


def _listener(version: int, port: int = 9001) -> socket.socket:
    return socket.create_server(
        ("", port), family=socket.AF_INET if version == 4 else socket.AF_INET6
    )


def _connecting(own: tuple[str, int], other: tuple[str, int]) -> socket.socket:
    """Return a socket that tries to connect and does not wait."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(own)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    sock.connect_ex(other)
    return sock


def _from_port(port: int, target: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.settimeout(1.5)
    try:
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def _first_hop_error(target: str) -> int:
    """Return the error that a datagram with one hop to live comes back with."""
    with socket.socket(family(target), socket.SOCK_DGRAM) as sock:
        if family(target) is socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.settimeout(5)
        sock.connect((target, 33434))
        sock.send(b"hop")
        try:
            sock.recv(100)
        except OSError as error:
            return error.errno or 0
        return 0


def _is_echoed(target: str, length: int) -> bool:
    """Whether a datagram to port 80 is answered, by as much of it as the server takes."""
    with socket.socket(family(target), socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((target, 80))
        try:
            sock.send(bytes(length))
            return len(sock.recv(length)) > 1500
        except TimeoutError:
            return False


def _ping(target: str) -> bool:
    """Whether an echo request is answered."""
    protocol = socket.IPPROTO_ICMP if family(target) is socket.AF_INET else socket.IPPROTO_ICMPV6
    kind = 8 if family(target) is socket.AF_INET else 128
    with socket.socket(family(target), socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(1)
        try:
            sock.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, 1) + b"ping", (target, 0))
            return b"ping" in sock.recv(100)
        except TimeoutError:
            return False
