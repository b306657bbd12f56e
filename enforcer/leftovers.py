"""What kube-router's firewall leaves on a node: found and named, and removed when that is asked.

It keeps chains in the filter tables of iptables (legacy or nf_tables, IPv4 and IPv6, as its image
had it) and addresses in ipsets; since 2.11 it may keep tables of nftables' own instead. All of it
goes on denying when kube-router is gone. Names are its own and nobody else's:
https://github.com/cloudnativelabs/kube-router/tree/master/pkg/controllers/netpol

A legacy table that is not there is not looked at: to look would make it, and hook it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enforcer.errors import KernelError
from enforcer.programs import SYSTEM_FOLDERS

CHAINS: Final = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
"""How the names of its chains begin."""

SETS: Final = ("KUBE-SRC-", "KUBE-DST-", "inet6:KUBE-SRC-", "inet6:KUBE-DST-")
"""How the names of its ipsets begin."""

TABLES: Final = ("ip kube-router-filter-ipv4", "ip6 kube-router-filter-ipv6")
"""Its nftables tables, with their families."""

TOOLS: Final = ("iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft")

_INSTANTIATED: Final[Mapping[str, str]] = {
    "iptables-legacy": "/proc/net/ip_tables_names",
    "ip6tables-legacy": "/proc/net/ip6_tables_names",
}
"""Where the kernel says which legacy tables this network namespace has."""

_MARKED: Final = "to explicitly ACCEPT traffic that comply to network policies"
"""The end of the comment of its rule that accepts what its chains have marked."""

_TARGET: Final = re.compile(r"\s-[jg] (\S+)")
_LOCK_SECONDS: Final = 30
_LOCK: Final = Path("/run/xtables.lock")
_OTHER_LOCK: Final = "/dev/shm/xtables.lock"  # noqa: S108  # shared memory of the pod, root's alone


@dataclass(frozen=True, slots=True)
class Chains:
    """What one iptables shows of it: its chains, and others' rules that lead there."""

    tool: str
    names: tuple[str, ...]
    rules: tuple[str, ...]
    """As ``iptables-save`` writes them, without ``-A``: in chains that are not its own."""

    def removal(self) -> str:
        """Return the script for ``iptables-restore --noflush``: all of it in one transaction."""
        lines = (
            *(f"-D {rule}" for rule in self.rules),
            *(f"-F {name}" for name in self.names),
            *(f"-X {name}" for name in self.names),
        )
        return "\n".join(("*filter", *lines, "COMMIT", ""))


@dataclass(frozen=True, slots=True)
class Leftovers:
    """All that was found, and the programs that would show more and are not there."""

    chains: tuple[Chains, ...]
    sets: tuple[str, ...]
    tables: tuple[str, ...]
    unseen: tuple[str, ...]

    def __str__(self) -> str:
        """Name everything, one a line; empty where nothing is there."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for one in self.chains:
            yield from (f"{one.tool}: rule {rule}" for rule in one.rules)
            yield from (f"{one.tool}: chain {name}" for name in one.names)
        yield from (f"ipset {name}" for name in self.sets)
        yield from (f"nftables table {name}" for name in self.tables)


def find() -> Leftovers:
    """Look at every place that kube-router uses; nothing is changed, or made by looking."""
    absent = [tool for tool in (*TOOLS, "ipset", "nft") if _path(tool) is None]
    parsed = (parse(tool, _run((f"{tool}-save", "-t", "filter"))) for tool in TOOLS if _shows(tool))
    names = _run(("ipset", "list", "-n")) if "ipset" not in absent else ""
    tables = _run(("nft", "list", "tables")) if "nft" not in absent else ""
    return Leftovers(
        tuple(one for one in parsed if one.names or one.rules),
        tuple(name for name in names.split() if name.startswith(SETS)),
        tuple(name for name in TABLES if f"table {name}" in tables.splitlines()),
        tuple(absent),
    )


def remove(found: Leftovers) -> None:
    """Remove what was found; KernelError says what could not be, and by whose word.

    Rules and chains of one iptables go in one transaction, so no packet meets a part of them; the
    sets, which nothing looks into any more, come last.
    """
    for one in found.chains:
        _run((f"{one.tool}-restore", "--noflush", f"--wait={_LOCK_SECONDS}"), one.removal())
    for table in found.tables:
        _run(("nft", "delete", "table", *table.split()))
    for name in found.sets:
        _run(("ipset", "destroy", name))


def parse(tool: str, saved: str) -> Chains:
    """Read what ``iptables-save -t filter`` printed."""
    lines = saved.splitlines()
    names = (line[1:].split()[0] for line in lines if line.startswith(":"))
    appended = (line.removeprefix("-A ") for line in lines if line.startswith("-A "))
    return Chains(
        tool,
        tuple(name for name in names if name.startswith(CHAINS)),
        tuple(rule for rule in appended if _is_its(rule)),
    )


def _is_its(rule: str) -> bool:
    """Whether a rule that stands in somebody else's chain is kube-router's."""
    if rule.startswith(CHAINS):
        return False
    targets = _TARGET.findall(rule)  # a comment may hold anything, but stands before the target
    return bool(targets and targets[-1].startswith(CHAINS)) or f'{_MARKED}"' in rule


def _shows(tool: str) -> bool:
    """Whether there is a filter table that this tool would show, and the tool itself."""
    if _path(tool) is None:
        return False
    instantiated = _INSTANTIATED.get(tool)
    if instantiated is None:
        return True
    path = Path(instantiated)
    return path.exists() and "filter" in path.read_text(encoding="ascii").split()


def _path(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)


def _run(argv: Sequence[str], text: str = "") -> str:
    """Run a program that has to succeed; KernelError with its words where it does not."""
    program = _path(argv[0]) or argv[0]
    done = subprocess.run(  # noqa: S603  # fixed programs, arguments of our own
        [program, *argv[1:]],
        input=text,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        env=_environment(),
    )
    if done.returncode:
        message = f"{' '.join(argv)}: {' '.join(done.stderr.split()) or 'it said nothing'}"
        raise KernelError(message)
    return done.stdout


def _environment() -> dict[str, str]:
    """Return ours; where the file system is read-only, iptables-legacy locks another file."""
    writable = os.access(_LOCK if _LOCK.exists() else _LOCK.parent, os.W_OK)
    return dict(os.environ) if writable else {**os.environ, "XTABLES_LOCKFILE": _OTHER_LOCK}
