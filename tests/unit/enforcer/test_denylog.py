"""The deny log: what the kernel hands over becomes a line with names."""

from __future__ import annotations

import json
import logging
import struct
from ipaddress import ip_address, ip_network

import pytest

from enforcer import nflog
from enforcer.denylog import Budget, DenyLog
from enforcer.log import JsonFormatter
from enforcer.metrics import Metrics
from enforcer.model.changes import Put
from enforcer.model.net import Direction
from enforcer.model.objects import Key, Pod
from enforcer.nflog import Flow, Logged, decode
from enforcer.node import Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.names import name_classes

CLIENT, SERVER, OUTSIDE = (ip_address(text) for text in ("10.1.0.3", "10.1.0.2", "14.215.0.9"))
DENY = PolicyClass(Direction.INGRESS, (Key("shop", "a"), Key("shop", "b")), Allowed())
UNREAD = PolicyClass(Direction.EGRESS, (), Allowed())
SYNCED = Synced(0, {}, repaired=False, problems=())


def prefix(item: PolicyClass) -> str:
    """Return the prefix that the rules of a class log with."""
    return name_classes([item])[item].log_prefix


def flow(client: str = "10.1.0.3", server: str = "10.1.0.2", protocol: int = 6) -> Flow:
    """Return a connection to port 80."""
    return Flow(protocol, ip_address(client), 40000, ip_address(server), 80)


@pytest.fixture
def log() -> DenyLog:
    """Return a log that knows two pods and two classes."""
    cluster = Cluster()
    for name, address in (("web", SERVER), ("cli", CLIENT)):
        cluster.apply(Put(Pod(Key("shop", name), "n1", {}, (address,))))
    cluster.apply(Put(Pod(Key("kube", "host"), "n1", {}, (OUTSIDE,), host_network=True)))
    pods = (LocalPod(Key("shop", "web"), (SERVER,), DENY, UNREAD),)
    found = DenyLog(Metrics())
    networks = (ip_network("10.1.0.0/24"),)
    found.synced(cluster, CompiledPolicy("n1", pods, networks, frozenset()), SYNCED)
    return found


def test_names_on_both_sides(log: DenyLog) -> None:
    """Direction, protocol, pods, addresses, ports, and every policy of the class."""
    assert str(log.name(Logged(prefix(DENY), flow()))) == (
        "denied ingress TCP shop/cli (10.1.0.3:40000) -> shop/web (10.1.0.2:80) by shop/a, shop/b"
    )


def test_what_is_no_pod_is_its_address(log: DenyLog) -> None:
    """An outside client; a pod on the host's network is its node, not a pod."""
    denied = log.name(Logged(prefix(DENY), flow(client=str(OUTSIDE), protocol=17)))

    assert "UDP 14.215.0.9:40000 -> shop/web" in str(denied)


def test_without_a_policy_it_is_the_default_deny(log: DenyLog) -> None:
    """A pod that was not understood is denied by no policy."""
    assert str(log.name(Logged(prefix(UNREAD), flow()))).endswith("by default deny")


def test_ipv6_with_ports_is_bracketed(log: DenyLog) -> None:
    """So that address and port can be told apart."""
    denied = log.name(Logged(prefix(DENY), flow("fd00::1", "fd00::2")))

    assert "[fd00::1]:40000 -> [fd00::2]:80" in str(denied)


@pytest.mark.parametrize("text", ["", "other", "npd:", "npd:sideways:12:", "xnpd:in:12:"])
def test_prefixes_of_others_are_left_alone(log: DenyLog, text: str) -> None:
    """Another program may log to the same group."""
    assert log.name(Logged(text, flow())) is None


def test_json_has_the_parts_as_fields(log: DenyLog) -> None:
    """One object a line, with a field for each part."""
    denied = log.name(Logged(prefix(DENY), flow()))
    assert denied is not None
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (denied,), None)
    record.fields = denied.fields()

    line = json.loads(JsonFormatter().format(record))

    assert line["policies"] == ["shop/a", "shop/b"]
    assert (line["clientNamespace"], line["clientPod"]) == ("shop", "cli")
    assert (line["serverAddress"], line["serverPort"]) == ("10.1.0.2", 80)
    assert line["direction"] == "ingress"


def test_a_flood_is_cut() -> None:
    """No more than the budget within a second."""
    budget = Budget(3)

    taken = [budget.take() for _ in range(100)]

    assert 3 <= sum(taken) <= 6  # a second may begin in between


# --- what the kernel sends ----------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(*attributes: bytes) -> bytes:
    """Return a packet message of NFLOG."""
    body = struct.pack("!BBH", 2, 0, 100) + b"".join(attributes)
    kind = nflog.NFNL_SUBSYS_ULOG << 8 | nflog.NFULNL_MSG_PACKET
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def ip4(source: str, destination: str, ports: tuple[int, int]) -> bytes:
    """Return an IPv4 packet with a TCP header's ports."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    return bytes([0x45] + [0] * 8 + [6, 0, 0]) + addresses + struct.pack("!HH", *ports)


def tuple_of(kind: int, source: str, port: int) -> bytes:
    """Return one direction of a connection."""
    address = attribute(nflog.CTA_IP_V4_SRC, ip_address(source).packed)
    protocol = attribute(1, b"\x06") + attribute(2, struct.pack("!H", port))
    return attribute(kind, attribute(1, address) + attribute(2, protocol))


PREFIX = attribute(nflog.NFULA_PREFIX, b"npd:in:12:\0")


def test_the_connection_tells_the_true_ends() -> None:
    """A packet to a Service's address is logged as one to the backend."""
    packet = attribute(nflog.NFULA_PAYLOAD, ip4("10.1.0.3", "10.96.0.1", (40000, 443)))
    tuples = tuple_of(1, "10.1.0.3", 40000) + tuple_of(2, "10.1.0.2", 8443)

    found = list(decode(message(PREFIX, packet, attribute(nflog.NFULA_CT, tuples))))

    assert found == [Logged("npd:in:12:", Flow(6, CLIENT, 40000, SERVER, 8443))]


def test_without_a_connection_the_header_has_to_do() -> None:
    """As on a kernel that does not hand connections over."""
    packet = attribute(nflog.NFULA_PAYLOAD, ip4("10.1.0.3", "10.1.0.2", (40000, 80)))

    found = list(decode(message(PREFIX, packet) * 2))

    assert found == [Logged("npd:in:12:", Flow(6, CLIENT, 40000, SERVER, 80))] * 2


@pytest.mark.parametrize("payload", [b"", b"\x45", b"\x60" + b"\0" * 10, b"\xff" * 40])
def test_what_is_cut_off_is_skipped(payload: bytes) -> None:
    """Pods choose what their packets hold: no packet ends the log."""
    assert list(decode(message(PREFIX, attribute(nflog.NFULA_PAYLOAD, payload)))) == []


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_a_message_that_is_cut_off_is_no_error(length: int) -> None:
    """Whatever the socket returned."""
    packet = attribute(nflog.NFULA_PAYLOAD, ip4("10.1.0.3", "10.1.0.2", (40000, 80)))

    assert len(list(decode(message(PREFIX, packet)[:length]))) <= 1
