"""What a connection keeps on the short cut: its end, its timeout, its counts, its translation."""

from __future__ import annotations

import errno
import re
import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from enforcer.ruleset.names import IPV4
from tests.kernel.netlab import (
    OUTSIDE,
    SILENCE_SECONDS,
    Lab,
    Pod,
    Verdict,
    echoes,
    wait_until,
)
from tests.kernel.offloading import (
    INSIDE,
    Counter,
    Flood,
    connect_offloaded,
    entry,
    fast_lab,
    is_offloaded,
)
from tests.kernel.policies import NOTHING, compiled, egress, ingress, peers

pytestmark = [pytest.mark.kernel, pytest.mark.optional("@flowtables")]

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, ALWAYS = 10, 23, 2  # linux/in.h, linux/in6.h
LINGER_NOT = b"\1\0\0\0\0\0\0\0"  # struct linger: close with a reset
SECONDS = 2.5
"""Longer than the timeouts that the tests set."""

PROXY = """
table ip proxy {
    chain prerouting {
        type nat hook prerouting priority -100;
        ip daddr 10.96.0.1 tcp dport 8080 dnat to 10.2.0.2:80
        ip daddr 192.168.7.1 tcp dport 30080 dnat to 10.2.0.2:80
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        ct original ip daddr 192.168.7.1 masquerade
        oifname "up0" ip saddr 10.2.0.2 masquerade
    }
}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Return a node with the fast path on, under load."""
    with fast_lab() as built:
        yield built


def test_datagrams_keep_their_flow_and_silence_ends_it(lab: Lab) -> None:
    """A flow in use outlives the kernel's timeouts; one that is silent is forgotten after them."""
    two = lab.pods[1]
    lab.sync(compiled(lab.pods))
    timeouts = ("flowtable_udp_timeout=1", "conntrack_udp_timeout_stream=1")
    lab.node.run("sysctl", "-qw", *(f"net.netfilter.nf_{one}" for one in timeouts))
    with Flood(lab, two.ip4) as flood:
        wait_until(lambda: flood.arrives() and is_offloaded(lab, flood.socket))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert flood.arrives()
            assert entry(lab, flood.socket)
        assert is_offloaded(lab, flood.socket)

        flood.pause()

        wait_until(lambda: not entry(lab, flood.socket))


def test_a_half_closed_connection_goes_on_and_ends(lab: Lab) -> None:
    """With the first FIN conntrack follows again: what is still sent arrives, and the end is seen.

    Otherwise the entry would stay as that of an open connection, for five days.
    """
    two = lab.pods[1]
    lab.sync(compiled(lab.pods))
    client, server = _pair(lab, two)
    with client, server:
        client.shutdown(socket.SHUT_WR)
        assert server.recv(100) == b""
        message = bytes(300_000)
        sender = Thread(target=server.sendall, args=(message,))
        sender.start()

        received = 0
        while received < len(message):
            assert "ESTABLISHED" not in entry(lab, client)
            assert not is_offloaded(lab, client)
            received += len(client.recv(100_000))
        sender.join()

        assert re.search("FIN_WAIT|CLOSE_WAIT|LAST_ACK", entry(lab, client))
        server.close()
        assert client.recv(100) == b""
        wait_until(lambda: re.search("TIME_WAIT|^$", entry(lab, client)) is not None)


def test_a_reset_ends_a_connection(lab: Lab) -> None:
    """The entry of a connection that was reset is not one of an open connection any more."""
    two = lab.pods[1]
    lab.sync(compiled(lab.pods))
    client, server = _pair(lab, two)
    port = client.getsockname()[1]
    with client, server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(100)

        def is_over() -> bool:
            known = lab.node.run("cat", "/proc/net/nf_conntrack").splitlines()
            mine = [line for line in known if f"sport={port} dport=7000" in line]
            return all(" CLOSE " in line for line in mine)

        wait_until(is_over)


def _pair(lab: Lab, two: Pod) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection from pod 1 to pod 2 that takes the short cut."""
    with lab.spaces["p2"].call(lambda: socket.create_server((two.ip4, 7000))) as listener:
        client = lab.spaces["p1"].call(lambda: socket.create_connection((two.ip4, 7000)))
        server = listener.accept()[0]

    def goes_fast() -> bool:
        for one, other in ((client, server), (server, client)):
            one.sendall(b"hello")
            assert other.recv(100) == b"hello"
        return is_offloaded(lab, client)

    wait_until(goes_fast)
    return client, server


def test_counts_stay_right(lab: Lab) -> None:
    """Conntrack counts what goes by the short cut, and a revoked connection's packets as denied."""
    one, two, _ = lab.pods
    lab.node.run("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    counter = Counter(lab, "p2", one.ip4)
    with connect_offloaded(lab, "p1", two.ip4) as sock:
        for _ in range(50):
            assert echoes(sock)
        assert is_offloaded(lab, sock)
        assert counter.packets() > 50
        wait_until(lambda: _counts(lab, sock)[0] == counter.packets())
        assert _counts(lab, sock)[1] > 50

        denied = _denied(lab)
        lab.sync(compiled(lab.pods, {2: [ingress(NOTHING)]}))
        assert not echoes(sock)
        assert _denied(lab) > denied


def _counts(lab: Lab, sock: socket.socket) -> list[int]:
    """Return the packets of both directions."""
    return [int(number) for number in re.findall(r"packets=(\d+)", entry(lab, sock))]


def _denied(lab: Lab) -> int:
    listed = lab.node.run("nft", "list", "table", *str(IPV4).split())
    return sum(
        map(int, re.findall(r'counter packets (\d+) bytes \d+ comment "[^"]*denied', listed))
    )


@pytest.mark.parametrize("address", ["ip4", "ip6"])
def test_the_next_pod_with_an_address_hears_nothing_of_old_flows(lab: Lab, address: str) -> None:
    """While clients go on sending the pod goes; the next one there has other policies."""
    one, two, three = lab.pods
    target = getattr(two, address)
    lab.sync(compiled(lab.pods, {2: [ingress(peers(one))]}))
    with connect_offloaded(lab, "p1", target) as sock, Flood(lab, target) as flood:
        wait_until(lambda: flood.arrives() and is_offloaded(lab, flood.socket))
        lab.node.run("ip", "link", "del", "veth2")
        _wire_again(lab, two)
        counter = Counter(lab, "p2", getattr(one, address))
        lab.sync(compiled([one, three]))
        lab.sync(compiled(lab.pods, {2: [ingress(peers(three))]}))
        before = counter.packets()

        # Also by the short cut, which the new pod's interface has joined.
        with connect_offloaded(lab, "p3", target):
            assert not echoes(sock)
            flood.drain()
            assert not flood.arrives()
            assert counter.packets() == before


def _wire_again(lab: Lab, pod: Pod) -> None:
    """Plug a pod in anew, as a CNI plugin does for the next one with its address."""
    there, here = lab.spaces[pod.name].name, lab.node.name
    link = f"link add veth{pod.number} address fe:ff:ff:ff:ff:{pod.number:02x} netns {here}"
    link += f" type veth peer name eth0 address {pod.mac} netns {there}\n"
    lab.node.run("ip", "-batch", "-", text=link)
    lab.rewire(pod)


@pytest.mark.parametrize("address", [INSIDE, "fd00:3::10"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_who_sends_too_long_packets_is_told(
    lab: Lab, address: str, kind: socket.SocketKind
) -> None:
    """Where the next link carries less the sender learns it, TCP goes on, and UDP may not."""
    lab.serve(OUTSIDE, 80)
    lab.sync(compiled(lab.pods))
    with _offloaded(lab, address, kind) as sock:
        lab.node.run("ip", "link", "set", "up0", "mtu", "1300")
        for _ in range(2):  # Linux 6.1 remembers an IPv6 connection's MTU: it has to join again
            lab.sync(compiled(lab.pods))
        message = bytes(1400 if kind is socket.SOCK_DGRAM else 4000)
        if kind is socket.SOCK_DGRAM:
            level, option = (41, IPV6_MTU_DISCOVER) if ":" in address else (0, IP_MTU_DISCOVER)
            sock.setsockopt(level, option, ALWAYS)
            wait_until(lambda: _is_told(sock, message))
            return
        sock.sendall(message)
        received = 0
        while received < len(message):
            received += len(sock.recv(4096))


def _offloaded(lab: Lab, address: str, kind: socket.SocketKind) -> socket.socket:
    if kind is socket.SOCK_STREAM:
        sock = connect_offloaded(lab, "p1", address)
        sock.settimeout(30)
        return sock
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = lab.spaces["p1"].call(socket.socket, family, kind)
    sock.connect((address, 80))
    sock.settimeout(SILENCE_SECONDS)
    wait_until(lambda: echoes(sock) and is_offloaded(lab, sock))
    return sock


def _is_told(sock: socket.socket, message: bytes) -> bool:
    try:
        sock.send(message)
    except OSError as error:
        return error.errno == errno.EMSGSIZE
    return False


@pytest.mark.parametrize("way", ["service", "node port, masqueraded", "outside, masqueraded"])
def test_translated_connections_take_the_short_cut(lab: Lab, way: str) -> None:
    """Translated addresses stay translated, and revocation judges the true client and server."""
    one, two, _ = lab.pods
    lab.serve(OUTSIDE, 80)
    lab.node.run("nft", "-f", "-", text=PROXY)
    before, after = (
        ({2: [egress(peers(INSIDE))]}, {2: [egress(NOTHING)]})
        if way.startswith("outside")
        else ({2: [ingress(peers(one, INSIDE))]}, {2: [ingress(peers("14.216.0.10"))]})
    )
    place, address, port, source = {
        "service": ("p1", "10.96.0.1", 8080, ""),
        "node port, masqueraded": (OUTSIDE, "192.168.7.1", 30080, INSIDE),
        "outside, masqueraded": (two.name, INSIDE, 80, ""),
    }[way]
    lab.sync(compiled(lab.pods, before))
    with connect_offloaded(lab, place, address, port, source) as sock:
        for _ in range(20):
            assert echoes(sock)
        assert is_offloaded(lab, sock)

        lab.sync(compiled(lab.pods, after))

        assert not echoes(sock)
        assert lab.probe(place, address, port, source=source) is Verdict.DROPPED
