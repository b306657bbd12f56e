"""Rules taken away and put back while real packets pass, in namespaces of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from harness.clusters.base import Cluster, Completed, Place
from harness.enforcers.base import State
from harness.enforcers.daemonset import Rules
from harness.enforcers.kube_router import IptablesRules
from harness.enforcers.nft_tables import NftTables
from harness.enforcers.node import Node

pytestmark = pytest.mark.kernel

ALLOWED, DENIED = 80, 81
PROGRAM = """
table ip npd {
  set denied { type inet_service; flags interval; elements = { 81 } }
  chain input {
    type filter hook input priority filter - 5; policy accept;
    ct mark 7 accept
    ct state new tcp dport @denied counter drop
    ct mark set 7
  }
}
table bridge npd {
  set sources { type ipv4_addr; elements = { 192.0.2.1 } }
  chain forward {
    type filter hook forward priority -200; policy accept;
    ip saddr @sources drop
  }
}
table ip other {
  chain input { type filter hook input priority filter + 5; policy accept; }
}
"""
CHAINS = """
*filter
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-POD-FW-ABCDEFGHIJKLMNOP - [0:0]
-A INPUT -s 192.0.2.9/32 -j ACCEPT
-A INPUT -m comment --comment "say \\"hi\\" it's -j x" -j KUBE-ROUTER-INPUT
-A INPUT -s 192.0.2.10/32 -j ACCEPT
-A INPUT -m physdev --physdev-is-bridged -d 10.9.0.2/32 -j KUBE-POD-FW-ABCDEFGHIJKLMNOP
-A KUBE-ROUTER-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.9.0.2/32 -j KUBE-POD-FW-ABCDEFGHIJKLMNOP
-A KUBE-POD-FW-ABCDEFGHIJKLMNOP -p tcp -m set --match-set KUBE-DST-ABCDEFGHIJKLMNOP dst \
-m tcp --dport 81 -j DROP
COMMIT
"""
SERVER = """
import socket, sys, threading
def echo(c):
    while data := c.recv(99): c.sendall(data)
def serve(listener):
    while True: threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
for port in map(int, sys.argv[1:]):
    listener = socket.create_server(("10.9.0.2", port))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""
CLIENT = """
import socket, sys
def attempt(port):
    try:
        socket.create_connection(("10.9.0.2", port), 0.3).close()
        return "open"
    except TimeoutError: return "dropped"
    except OSError as error: return str(error)
kept = socket.create_connection(("10.9.0.2", 80), 5)
for line in sys.stdin:
    if line.strip() == "kept":
        kept.sendall(b"x")
        print(kept.recv(9).decode(), flush=True)
    else: print(attempt(int(line)), flush=True)
"""


def run(*argv: str, text: str | None = None) -> str:
    """Run a command that has to succeed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Namespace:
    """As much of a cluster as rules need: one node, a namespace of ours."""

    name: str

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command in it."""
        del place
        inside = ("ip", "netns", "exec", self.name, *argv)
        done = subprocess.run(inside, capture_output=True, text=True, timeout=timeout, check=False)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Lab:
    """A node with a server, and a client with one connection that it keeps."""

    node: Node
    client: subprocess.Popen[str]

    def ask(self, line: str) -> str:
        """Have the client do something, and return what it saw."""
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        self.client.stdin.write(f"{line}\n")
        self.client.stdin.flush()
        return self.client.stdout.readline().strip()

    def seen(self) -> tuple[str, str, str]:
        """Try the allowed port, the denied port and the kept connection."""
        return self.ask(str(ALLOWED)), self.ask(str(DENIED)), self.ask("kept")


ON = ("open", "dropped", "x")
OFF = ("open", "open", "x")


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    """Return the names of a node's and of a client's namespace, connected to each other."""
    node, client = f"enf-n-{os.getpid()}", f"enf-c-{os.getpid()}"
    try:
        for name in (node, client):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", client, "link", "add", "v", "type", "veth", "peer", "v", "netns", node)
        for name, address in ((client, "10.9.0.1/24"), (node, "10.9.0.2/24")):
            run("ip", "-n", name, "address", "add", address, "dev", "v")
            run("ip", "-n", name, "link", "set", "v", "up")
        yield node, client
    finally:
        for name in (node, client):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def start(namespace: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python script in a namespace."""
    argv = ("ip", "netns", "exec", namespace, sys.executable, "-c", script, *arguments)
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def lab(names: tuple[str, str], tmp_path: Path) -> Iterator[Lab]:
    """Return the node with its server and the client; the kept connection is there already."""
    node, client = names
    with start(node, SERVER, str(ALLOWED), str(DENIED)) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        with start(client, CLIENT) as asker:
            made = Lab(Node(cast("Cluster", Namespace(node)), node, tmp_path), asker)
            assert made.seen() == OFF
            yield made
            asker.terminate()
        server.terminate()


def nft_rules(lab: Lab) -> Rules:
    """Load tables that deny one port."""
    run("ip", "netns", "exec", lab.node.name, "nft", "-f", "-", text=PROGRAM)
    forget = "for family in ip bridge; do nft delete table $family npd; done 2>/dev/null; true"
    return NftTables("npd", ("sh", "-c", forget))


def iptables_rules(lab: Lab) -> Rules:
    """Load chains named like kube-router's that deny one port."""
    inside = ("ip", "netns", "exec", lab.node.name)
    run(*inside, "ipset", "create", "KUBE-DST-ABCDEFGHIJKLMNOP", "hash:ip", "timeout", "0")
    run(*inside, "ipset", "add", "KUBE-DST-ABCDEFGHIJKLMNOP", "10.9.0.2")
    run(*inside, "ipset", "create", "foreign", "hash:ip")
    run(*inside, "iptables-restore", "--noflush", text=CHAINS)
    return IptablesRules()


@pytest.fixture(
    params=[
        pytest.param(nft_rules, id="nft"),
        pytest.param(
            iptables_rules, id="iptables", marks=pytest.mark.optional("iptables", "ipset")
        ),
    ]
)
def rules(request: pytest.FixtureRequest, lab: Lab) -> Rules:
    """Return the rules of one kind of enforcer, loaded on the lab's node."""
    loaded: Rules = request.param(lab)
    return loaded


def everything(lab: Lab) -> str:
    """Return all rules and elements of the node; counters, which packets change, left out."""
    listed = lab.node.run("nft", "--stateless", "list", "ruleset")
    sets = lab.node.run("ipset", "save") if shutil.which("ipset") else ""
    return listed + sets


def test_off_and_on_as_packets_see_them(lab: Lab, rules: Rules) -> None:
    """Off, the denied port is open; on, it is closed again; a kept connection lives through it."""
    assert (lab.seen(), rules.state(lab.node)) == (ON, State.ON)

    for _ in range(3):
        rules.take_away(lab.node)
        assert (lab.seen(), rules.state(lab.node)) == (OFF, State.OFF)

        rules.put_back(lab.node)
        assert (lab.seen(), rules.state(lab.node)) == (ON, State.ON)


def test_off_and_on_again_leaves_the_kernel_as_it_was(lab: Lab, rules: Rules) -> None:
    """Every rule is back in its place, with every element of every set."""
    before = everything(lab)

    rules.take_away(lab.node)
    rules.take_away(lab.node)
    between = everything(lab)
    rules.put_back(lab.node)
    rules.put_back(lab.node)

    assert everything(lab) == before
    assert between != before


def test_removed_rules_are_gone_and_others_stay(lab: Lab, rules: Rules) -> None:
    """Removal works from off as from on, twice as once, and takes nothing of others."""
    rules.take_away(lab.node)

    rules.remove(lab.node)
    rules.remove(lab.node)

    left = everything(lab)
    assert (lab.seen(), rules.state(lab.node)) == (OFF, State.ABSENT)
    assert "npd" not in left
    assert "KUBE-" not in left
    assert "table ip other" in left or ("192.0.2.9" in left and "create foreign" in left)


def test_without_rules_there_is_nothing_to_switch(lab: Lab) -> None:
    """Switching what is absent makes nothing: no empty table is left behind."""
    tables = NftTables("npd", ("true",))

    tables.take_away(lab.node)
    tables.put_back(lab.node)
    tables.remove(lab.node)

    assert (tables.state(lab.node), everything(lab).strip()) == (State.ABSENT, "")
