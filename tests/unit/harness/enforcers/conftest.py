"""A cluster in memory whose nodes hold nft tables, an iptables filter table and ipsets.

It refuses what the kernel and the tools refuse: an unknown table or chain, a rule number that is
not there, the removal of a chain that is used or not empty.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from harness.clusters.base import (
    Completed,
    Manifest,
    NodeInfo,
    NodeRef,
    Outcome,
    Place,
    Probe,
    Process,
    Right,
)

USAGE = """Usage of kube-router:
      --cache-sync-timeout duration     The timeout for cache synchronization
      --health-port uint16              Health check port
  -h, --help                            Print usage information.
      --iptables-sync-period duration   The delay between iptables rule synchronizations
      --kubeconfig string               Path to kubeconfig file
      --run-firewall                    Enables Network Policy
      --run-router                      Enables Pod Networking
      --run-service-proxy               Enables Service Proxy
  -v, --v string                        log level for V logs
"""


_ADD_TABLE = re.compile(r"add table (\w+) (\w+)( \{ flags dormant; \})?(?:; |$)")


class RefusedError(Exception):
    """What the tool says before it ends with 1."""


@dataclass
class FakeProcess:
    """A daemon that burns half a second of CPU and does nothing."""

    node: FakeNode
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    pid: int = 1
    alive: bool = True
    paused: bool = False

    def running(self) -> bool:
        """Whether it was not stopped."""
        return self.alive

    def signal(self, number: int) -> None:
        """Take a signal down in the journal; only a living process takes any."""
        assert self.alive, "a signal to a process that is gone"
        self.node.journal.append(signal.Signals(number).name)
        self.paused = number == signal.SIGSTOP

    def stop(self, timeout: float = 10.0) -> None:
        """End, unless paused: SIGTERM would wait."""
        assert timeout > 0
        assert not self.paused, "SIGTERM to a paused process waits until SIGKILL"
        self.node.journal.append("stop")
        self.alive = False

    def cpu_seconds(self) -> float:
        """Return the same at any time."""
        return 0.5

    def rss_bytes(self) -> int:
        """Return nothing of interest."""
        return 0

    def tail(self, lines: int = 20) -> str:
        """Return the end of its log."""
        text = self.log.read_text() if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


@dataclass
class FakeNode:
    """The kernel of one node, what its daemon answers, and what happened in which order."""

    tables: dict[tuple[str, str], bool] = field(default_factory=dict)
    """(family, name) -> whether it is dormant."""
    chains: dict[str, list[str]] = field(
        default_factory=lambda: {"INPUT": [], "FORWARD": [], "OUTPUT": []}
    )
    sets: list[str] = field(default_factory=list)
    unhealthy: str = ""
    usage: str = USAGE
    journal: list[str] = field(default_factory=list)

    def carry_out(self, argv: Sequence[str]) -> str:
        """Do what a command does."""
        match tuple(argv):
            case ("nft", *rest):
                return self._nft(rest)
            case ("iptables-save" | "iptables-restore" | "ipset", *_):
                return self._iptables(argv)
            case ("env", _, _, "-m", "enforcer", "cleanup"):
                self.tables.clear()
            case (_, "--help"):
                return self.usage
            case (_, "--version"):
                return "kube-router version v0.0.0-fake\nbuilt on nowhere\n"
            case (sys.executable, "-I", "-S", *_):
                if self.unhealthy:
                    raise RefusedError(self.unhealthy)
            case _:
                raise AssertionError(argv)
        return ""

    def _nft(self, rest: Sequence[str]) -> str:
        match tuple(rest):
            case ("list", "tables"):
                return "".join(f"table {family} {name}\n" for family, name in self.tables)
            case ("--terse", "list", "table", family, name):
                if (family, name) not in self.tables:
                    raise RefusedError("Error: No such file or directory")
                flags = "\tflags dormant\n" if self.tables[family, name] else ""
                return (
                    f"table {family} {name} {{\n{flags}\tset s {{\n\t\tflags interval\n\t}}\n}}\n"
                )
            case (script,):
                self.journal.append(f"nft {script}")
                for family, name, flags in _ADD_TABLE.findall(script):
                    self.tables[family, name] = "dormant" in flags
        return ""

    def _iptables(self, argv: Sequence[str]) -> str:
        match tuple(argv):
            case ("iptables-save", "-t", "filter"):
                return self._save()
            case ("iptables-restore", "--noflush", "--wait=30", file):
                self._restore(Path(file).read_text())
            case ("ipset", "list", "-n"):
                return "\n".join(self.sets)
            case ("ipset", "save"):
                return "".join(f"create {name} hash:ip timeout 0\n" for name in self.sets)
            case ("ipset", "restore", "-exist", "-file", file):
                made = (line.split()[1] for line in Path(file).read_text().splitlines())
                self.sets += [name for name in made if name not in self.sets]
            case ("ipset", "destroy", name):
                self.sets.remove(name)
            case _:
                raise AssertionError(argv)
        return ""

    def _save(self) -> str:
        names = [f":{chain} - [7:700]" for chain in self.chains]
        rules = [f"-A {chain} {rule}" for chain, all_ in self.chains.items() for rule in all_]
        return "\n".join(("# made", "*filter", *names, *rules, "COMMIT", ""))

    def _restore(self, script: str) -> None:
        self.journal.append("iptables-restore")
        lines = script.splitlines()
        assert (lines[0], lines[-1]) == ("*filter", "COMMIT")
        new = {chain: list(rules) for chain, rules in self.chains.items()}
        for line in lines[1:-1]:
            if line.startswith(":"):
                new[line[1:].split(maxsplit=1)[0]] = []
            else:
                _change(new, line)
        self.chains = new


def _change(chains: dict[str, list[str]], line: str) -> None:
    verb, chain, *rest = line.split(maxsplit=3)
    if chain not in chains:
        raise RefusedError(f"no chain {chain}")
    match verb:
        case "-D":
            if not 0 < int(rest[0]) <= len(chains[chain]):
                raise RefusedError(f"no rule {line}")
            del chains[chain][int(rest[0]) - 1]
        case "-I":
            if not 0 < int(rest[0]) <= len(chains[chain]) + 1:
                raise RefusedError(f"no place {line}")
            chains[chain].insert(int(rest[0]) - 1, rest[1])
        case "-A":
            chains[chain].append(" ".join(rest))
        case "-F":
            chains[chain].clear()
        case "-X":
            used = any(r.endswith(f"-j {chain}") for rules in chains.values() for r in rules)
            if used or chains[chain]:
                raise RefusedError(f"chain {chain} is in use or not empty")
            del chains[chain]
        case _:
            raise AssertionError(line)


class FakeCluster:
    """Two nodes, n1 and n2, in memory."""

    kind = "fake"
    name = "fake"

    def __init__(self, folder: Path) -> None:
        """Keep its kubeconfigs in ``folder``; they are never read."""
        self.kubeconfig = folder / "kubeconfig"
        self.node_kubeconfig = folder / "node-kubeconfig"
        self.kernel = {"n1": FakeNode(), "n2": FakeNode()}
        self.processes: list[FakeProcess] = []

    def __enter__(self) -> Self:
        """Be up."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Be gone."""

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return both nodes."""
        return tuple(NodeInfo(name, "192.0.2.1", ("10.2.0.0/24",)) for name in self.kernel)

    def describe(self) -> Mapping[str, Any]:
        """Return nothing of interest."""
        return {}

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        """Return the one for nodes: there are no identities here."""
        return self.node_kubeconfig

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Nobody asks for it here."""
        raise NotImplementedError

    def delete(self, manifests: Iterable[Manifest]) -> None:
        """Nobody asks for it here."""
        raise NotImplementedError

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Nobody asks for it here."""
        raise NotImplementedError

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        """Nobody asks for it here."""
        raise NotImplementedError

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command in a node's kernel."""
        assert timeout > 0
        assert isinstance(place, NodeRef)
        try:
            stdout = self.kernel[place.name].carry_out(argv)
        except RefusedError as error:
            return Completed(tuple(argv), 1, "", str(error))
        return Completed(tuple(argv), 0, stdout, "")

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a daemon that does nothing."""
        assert isinstance(place, NodeRef)
        process = FakeProcess(self.kernel[place.name], tuple(argv), env or {}, log)
        self.kernel[place.name].journal.append("start")
        self.processes.append(process)
        return process


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    """Return a cluster of two nodes without any rules."""
    return FakeCluster(tmp_path)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Return an executable file."""
    path = tmp_path / "kube-router"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path
