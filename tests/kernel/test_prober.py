"""The prober against real packets, in network namespaces of the test's own."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clusters.base import Transport, Verdict
from harness.errors import ClusterError
from harness.prober.client import ProberClient
from harness.prober.support import unsupported
from tests.kernel.netlab import SILENCE_SECONDS

pytestmark = pytest.mark.kernel

WAIT = SILENCE_SECONDS
SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.accept_dad=0",
)
RULES = """
table inet t {
  chain f {
    type filter hook forward priority 0; policy accept;
    tcp dport 1001 drop
    tcp dport 1002 reject with tcp reset
    tcp dport 1003 reject with icmpx admin-prohibited
    tcp dport 1004 reject with icmp port-unreachable
    udp dport 1001 drop
    udp dport 1004 reject with icmp port-unreachable
  }
}
"""


@dataclass(frozen=True)
class Lab:
    """A client and a server with a router between them that denies some ports."""

    prober: ProberClient
    agent: subprocess.Popen[bytes]
    client: str
    router: str
    server: str

    def verdict(self, port: int, protocol: str = "TCP", address: str = "10.9.2.2") -> Verdict:
        """Probe the server from the client."""
        (outcome,) = self.prober.probe([(self.client, None, address, port, protocol)], WAIT)
        return outcome.verdict


def ip(*lines: str) -> None:
    """Run ``ip`` commands."""
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


def layout(client: str, router: str, server: str) -> list[str]:
    """Return the commands that lay the cables."""
    lines = [f"netns add {name}" for name in (client, router, server)]
    # Without duplicate address detection a link-local address is good at once
    lines += [f"netns exec {router} sysctl -qw {setting}" for setting in SETTINGS]
    for side, name in ((1, client), (2, server)):
        lines += [
            f"-n {router} link add up{side} type veth peer name eth0 netns {name}",
            f"-n {router} addr add 10.9.{side}.1/24 dev up{side}",
            f"-n {router} addr add fd09:{side}::1/64 dev up{side} nodad",
            f"-n {router} link set up{side} up",
            f"-n {name} addr add 10.9.{side}.2/24 dev eth0",
            f"-n {name} addr add fd09:{side}::2/64 dev eth0 nodad",
            f"-n {name} link set lo up",
            f"-n {name} link set eth0 up",
            f"-n {name} route add default via 10.9.{side}.1",
            f"-n {name} -6 route add default via fd09:{side}::1",
        ]
    return [*lines, f"-n {client} addr add 10.8.1.3/32 dev lo"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Build the lab, with an agent and echo servers in it, and take it all away again."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nft"):
        pytest.skip("needs root, ip and nft")
    names = [f"prb{os.getpid()}{role}" for role in "crs"]
    client, router, server = names
    path = tmp_path_factory.mktemp("a-folder-with-a-very-" + "long-" * 20 + "name") / "p.sock"
    ip(*layout(client, router, server))
    nft = ["ip", "netns", "exec", router, "nft", "-f", "-"]
    subprocess.run(nft, input=RULES, text=True, check=True)
    agent = subprocess.Popen([sys.executable, "-m", "harness.prober.agent", "--socket", str(path)])
    try:
        with ProberClient(path) as prober:
            for port in (80, 1001, 1002, 1003, 1004):
                prober.serve(server, "0.0.0.0", port, "TCP")  # a namespace of ours
                prober.serve(server, "0.0.0.0", port, "UDP")
            prober.serve(server, "::", 80, "TCP")
            prober.serve(server, "::", 80, "UDP")
            yield Lab(prober, agent, client, router, server)
    finally:
        agent.kill()
        agent.wait()
        ip(*(f"netns del {name}" for name in names))


@pytest.mark.parametrize(
    ("port", "protocol", "expected"),
    [
        (80, "TCP", Verdict.OPEN),
        (81, "TCP", Verdict.RESET),
        (1001, "TCP", Verdict.DROPPED),
        (1002, "TCP", Verdict.RESET),
        (1003, "TCP", Verdict.REJECTED),
        (1004, "TCP", Verdict.REJECTED),
        (80, "UDP", Verdict.OPEN),
        (81, "UDP", Verdict.RESET),
        (1001, "UDP", Verdict.DROPPED),
        (1004, "UDP", Verdict.REJECTED),
        (0, "ICMP", Verdict.OPEN),
    ],
)
def test_verdict(lab: Lab, port: int, protocol: str, expected: Verdict) -> None:
    """Each way of ending has its own name."""
    assert expected == lab.verdict(port, protocol)


@pytest.mark.parametrize(
    ("port", "protocol", "expected"),
    [
        (80, "TCP", Verdict.OPEN),
        (81, "TCP", Verdict.RESET),
        (1001, "TCP", Verdict.DROPPED),
        (1003, "TCP", Verdict.REJECTED),
        (80, "UDP", Verdict.OPEN),
        (0, "ICMP", Verdict.OPEN),
    ],
)
def test_verdict_ipv6(lab: Lab, port: int, protocol: str, expected: Verdict) -> None:
    """IPv6 is judged like IPv4."""
    assert expected == lab.verdict(port, protocol, "fd09:2::2")


@pytest.mark.parametrize(
    ("port", "expected"),
    [(80, Verdict.OPEN), (81, Verdict.RESET), (1001, Verdict.DROPPED), (1004, Verdict.REJECTED)],
)
def test_datagrams_without_reply(lab: Lab, port: int, expected: Verdict) -> None:
    """A datagram that is never answered is open once its server has heard it."""
    assert expected == lab.verdict(port, Transport.UDP_ONE_WAY)


def test_one_way_needs_no_way_back(lab: Lab) -> None:
    """A datagram from a source that no reply could reach arrives all the same."""
    probe = (lab.client, "10.8.1.3", "10.9.2.2", 80, Transport.UDP_ONE_WAY)
    (outcome,) = lab.prober.probe([probe], WAIT)

    assert outcome.verdict == Verdict.OPEN


@pytest.mark.parametrize(
    ("port", "protocol", "address", "expected"),
    [
        (1001, "TCP", "10.9.2.2", ""),
        (1002, "TCP", "10.9.2.2", "reset"),
        (1003, "TCP", "10.9.2.2", "icmp-admin-prohibited"),
        (1003, "TCP", "fd09:2::2", "icmpv6-admin-prohibited"),
        (1004, "UDP", "10.9.2.2", "icmp-port-unreachable"),
    ],
)
def test_cause(lab: Lab, port: int, protocol: str, address: str, expected: str) -> None:
    """A rejected probe says whether a reset or which ICMP error came; a dropped one, nothing."""
    (outcome,) = lab.prober.probe([(lab.client, None, address, port, protocol)], WAIT)

    assert expected == outcome.cause


def test_error_number(lab: Lab) -> None:
    """A probe that could not be tried says the kernel's error number."""
    (outcome,) = lab.prober.probe([(lab.client, "192.0.2.1", "10.9.2.2", 80, "TCP")], WAIT)

    assert (outcome.errno, outcome.cause) == (errno.EADDRNOTAVAIL, "EADDRNOTAVAIL")


def test_sctp(lab: Lab) -> None:
    """SCTP is probed where the kernel has it; elsewhere the reason is there, and no silence."""
    missing = unsupported().get(Transport.SCTP)
    if missing:
        (outcome,) = lab.prober.probe([(lab.client, None, "10.9.2.2", 80, "SCTP")], WAIT)
        assert (outcome.verdict, outcome.cause) == (Verdict.ERROR, "EPROTONOSUPPORT")
        pytest.skip(f"SCTP not run: {missing}")
    lab.prober.serve(lab.server, "10.9.2.2", 80, "SCTP")

    assert (lab.verdict(80, "SCTP"), lab.verdict(81, "SCTP")) == (Verdict.OPEN, Verdict.RESET)


@contextlib.contextmanager
def cut(lab: Lab, match: str) -> Iterator[None]:
    """Drop what matches on the router for a while."""
    nft = ["ip", "netns", "exec", lab.router, "nft"]
    chain = f"type filter hook forward priority -1; {match} drop"
    rules = f"table inet cut {{\n chain c {{ {chain}; }}\n}}\n"
    subprocess.run([*nft, "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*nft, "delete table inet cut"], check=True)


@pytest.mark.parametrize("address", ["10.9.2.2", "fd09:2::2"])
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "ICMP"])
@pytest.mark.parametrize("direction", ["up1", "up2"])
def test_held(lab: Lab, protocol: str, address: str, direction: str) -> None:
    """A held connection carries bytes, is silent while either direction is cut, and goes on."""
    probe = (lab.client, None, address, 80, protocol)
    ((opened, key),) = lab.prober.hold([probe], 2.0)
    before = lab.prober.ask([key], 2.0)
    with cut(lab, f"iifname {direction}"):
        during = lab.prober.ask([key], WAIT)
    after = lab.prober.ask([key], 10.0)
    lab.prober.release([key])

    seen = [outcome.verdict for outcome in (opened, *before, *during, *after)]
    assert seen == [Verdict.OPEN, Verdict.OPEN, Verdict.DROPPED, Verdict.OPEN]


def test_held_is_one_connection(lab: Lab) -> None:
    """Questions travel on the connection that was opened: new ones are cut, it is not."""
    probe = (lab.client, None, "10.9.2.2", 80, "TCP")
    ((_, key),) = lab.prober.hold([probe], 2.0)
    with cut(lab, "tcp flags & (syn | ack) == syn"):
        (asked,) = lab.prober.ask([key], 2.0)
        (fresh,) = lab.prober.probe([probe], WAIT)
    lab.prober.release([key])

    assert (asked.verdict, fresh.verdict) == (Verdict.OPEN, Verdict.DROPPED)


def wait_for_bytes(netns: str) -> None:
    """Return once a connection in a namespace has bytes that nobody has read."""
    argv = ["ip", "netns", "exec", netns, "ss", "-Htn", "state", "established"]
    deadline = time.monotonic() + 20
    while not any(
        int(line.split()[0]) for line in subprocess.check_output(argv, text=True).splitlines()
    ):
        assert time.monotonic() < deadline, "no answer came"
        time.sleep(0.05)


def test_late_answers_do_not_count(lab: Lab) -> None:
    """What answers an old question late is not the answer to the question asked now."""
    ((_, key),) = lab.prober.hold([(lab.client, None, "10.9.2.2", 80, "TCP")], 2.0)
    with cut(lab, "iifname up2"):
        (cut_off,) = lab.prober.ask([key], WAIT)
    wait_for_bytes(lab.client)  # TCP's own retransmission delivers the old answer
    with cut(lab, "iifname up1"):
        (asked,) = lab.prober.ask([key], WAIT)
    lab.prober.release([key])

    assert (cut_off.verdict, asked.verdict) == (Verdict.DROPPED, Verdict.DROPPED)


def test_released(lab: Lab) -> None:
    """A connection that was let go of, or never opened, has no answer but an error."""
    ((_, key),) = lab.prober.hold([(lab.client, None, "10.9.2.2", 80, "TCP")], 2.0)
    ((refused, none),) = lab.prober.hold([(lab.client, None, "10.9.2.2", 81, "TCP")], 2.0)
    lab.prober.release([key])
    lab.prober.release([key])

    outcomes = lab.prober.ask([key, none], WAIT)
    assert (refused.verdict, none) == (Verdict.RESET, 0)
    assert [outcome.cause for outcome in outcomes] == ["ENOTCONN", "ENOTCONN"]


def test_a_server_that_ends_is_told(lab: Lab) -> None:
    """A held connection whose server has gone is an error, never silence."""
    server = (
        "import socket; s = socket.create_server(('10.9.2.2', 97));"
        "print('ready', flush=True); c = s.accept()[0]; c.send(c.recv(999)); c.recv(1); c.close()"
    )
    argv = ["ip", "netns", "exec", lab.server, sys.executable, "-c", server]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        ((_, key),) = lab.prober.hold([(lab.client, None, "10.9.2.2", 97, "TCP")], 5.0)
        (outcome,) = lab.prober.ask([key], 5.0)

    assert outcome.verdict in {Verdict.ERROR, Verdict.RESET}


def test_no_route(lab: Lab) -> None:
    """A host that has no route says so itself."""
    probe = (lab.server, None, "10.9.1.2", 80, "TCP")
    ip(f"-n {lab.server} route del default")
    try:
        (outcome,) = lab.prober.probe([probe], WAIT)
    finally:
        ip(f"-n {lab.server} route add default via 10.9.2.1")

    assert outcome.verdict == Verdict.UNREACHABLE


def test_source_address(lab: Lab) -> None:
    """A probe comes from the source that was asked for: here one without a way back."""
    (outcome,) = lab.prober.probe([(lab.client, "10.8.1.3", "10.9.2.2", 80, "TCP")], WAIT)

    assert outcome.verdict == Verdict.DROPPED


def test_unknown_source(lab: Lab) -> None:
    """A source that the namespace does not own is an error, not a verdict on the way."""
    (outcome,) = lab.prober.probe([(lab.client, "192.0.2.1", "10.9.2.2", 80, "TCP")], WAIT)

    assert outcome.verdict == Verdict.ERROR


def test_unknown_namespace(lab: Lab) -> None:
    """A namespace that is gone spoils its own probe and no other."""
    probes = [(name, None, "10.9.2.2", 80, "TCP") for name in ("gone", lab.client)]
    outcomes = lab.prober.probe(probes, WAIT)

    assert [outcome.verdict for outcome in outcomes] == [Verdict.ERROR, Verdict.OPEN]


def test_datagrams_are_answered_from_the_address_asked(lab: Lab) -> None:
    """An echo server on every address answers from the one that was asked."""
    ip(f"-n {lab.server} addr add 10.9.2.77/24 dev eth0")

    assert lab.verdict(80, "UDP", "10.9.2.77") == Verdict.OPEN


def test_thousands_at_once(lab: Lab) -> None:
    """A whole matrix is probed at once: its drops do not wait for each other."""
    ports = (80, 1001, 81)
    probes = [(lab.client, None, "10.9.2.2", port, "TCP") for port in ports] * 1000
    started = time.monotonic()
    outcomes = lab.prober.probe(probes, WAIT)

    expected = [Verdict.OPEN, Verdict.DROPPED, Verdict.RESET] * 1000
    assert expected == [outcome.verdict for outcome in outcomes]
    assert time.monotonic() - started < 1000 * WAIT / 10


def test_closed_server(lab: Lab) -> None:
    """A server that was closed refuses."""
    lab.prober.serve(lab.server, "10.9.2.2", 99)
    before = lab.verdict(99)
    lab.prober.close_server(lab.server, "10.9.2.2", 99)

    assert (before, lab.verdict(99)) == (Verdict.OPEN, Verdict.RESET)


def test_a_server_stays_for_its_other_users(lab: Lab) -> None:
    """A server that was asked for twice is there until both have let go of it."""
    seen = []
    for ask in (lab.prober.serve, lab.prober.serve, lab.prober.close_server):
        ask(lab.server, "10.9.2.2", 95)
        seen.append(lab.verdict(95))
    lab.prober.close_server(lab.server, "10.9.2.2", 95)

    assert [*seen, lab.verdict(95)] == [Verdict.OPEN] * 3 + [Verdict.RESET]


def test_port_in_use(lab: Lab) -> None:
    """A server that cannot listen is said so, and the conversation goes on."""
    lab.prober.serve(lab.server, "10.9.2.2", 98)
    with pytest.raises(ClusterError, match="in use"):
        lab.prober.serve(lab.server, "0.0.0.0", 98)  # a namespace of ours

    assert lab.verdict(80) == Verdict.OPEN


def test_namespace_is_not_held(lab: Lab) -> None:
    """The agent keeps no namespace alive: after a probe it is at home again."""
    lab.verdict(80)

    home = Path("/proc/self/ns/net").readlink()
    assert home == Path(f"/proc/{lab.agent.pid}/ns/net").readlink()


def test_agent_dies_with_its_parent(tmp_path: Path) -> None:
    """An agent does not outlive the process that started it."""
    path = tmp_path / "prober.sock"
    program = (
        "import subprocess, sys; from harness.prober.client import ProberClient;"
        f"path = {str(path)!r};"
        "argv = [sys.executable, '-m', 'harness.prober.agent', '--socket', path];"
        "agent = subprocess.Popen(argv);"
        "ProberClient(path).close(); print(agent.pid, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    with pytest.raises(ClusterError):
        ProberClient(path, patience=0)

    assert not Path(f"/proc/{int(done.stdout)}/exe").exists()
