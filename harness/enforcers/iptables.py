"""kube-router's rules in iptables and ipset, as text: what is its own, and scripts to switch it.

Everything here is a pure function of what ``iptables-save -t filter`` and ``ipset list -n``
print. Scripts are for ``iptables-restore --noflush``, which carries out each one as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
"""The chains of the filter table from which kube-router's own are reached."""

ENTRIES = ("KUBE-ROUTER-", "KUBE-POD-FW-")
"""How the names of the chains begin that it jumps to: its own entries (from 1.0 on), its pods."""

CHAINS = (*ENTRIES, "KUBE-NWPLCY-")
"""How the names of all its chains begin; those of policies are there on nodes without pods too."""

SETS = ("KUBE-SRC-", "KUBE-DST-", "inet6:KUBE-SRC-", "inet6:KUBE-DST-")
"""How the names of its ipsets begin."""

_TARGET = re.compile(r"\s-[jg] (\S+)")


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule of a built-in chain that leads into kube-router's chains."""

    chain: str
    number: int
    """Its place in the chain, from 1."""
    rule: str
    """The rule as iptables-save writes it, without ``-A CHAIN``."""


@dataclass(frozen=True, slots=True)
class FilterTable:
    """The filter table of a node: the names of its chains and its rules in their order."""

    chains: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    """Chain and rule, as iptables-save writes it."""

    def own_chains(self) -> tuple[str, ...]:
        """Return the chains that are kube-router's."""
        return tuple(chain for chain in self.chains if chain.startswith(CHAINS))

    def has_entries(self) -> bool:
        """Whether there is a chain that packets would be led to, were its rules in their way."""
        return any(chain.startswith(ENTRIES) for chain in self.chains)

    def jumps(self) -> tuple[Jump, ...]:
        """Return the rules by which packets get to kube-router's chains."""
        return tuple(
            Jump(chain, number, rule)
            for chain in BUILT_IN
            for number, rule in enumerate(self._of(chain), start=1)
            if _leads_in(rule)
        )

    def _of(self, chain: str) -> list[str]:
        return [rule for where, rule in self.rules if where == chain]


def _leads_in(rule: str) -> bool:
    # the last target: a comment may hold anything, "-j" too, but stands before it
    targets = _TARGET.findall(" " + rule)
    return bool(targets) and targets[-1].startswith(CHAINS)


def parse(saved: str) -> FilterTable:
    """Read what ``iptables-save -t filter`` printed; counters and dates are left out."""
    lines = saved.splitlines()
    chains = tuple(line[1:].split()[0] for line in lines if line.startswith(":"))
    appended = (line.split(maxsplit=2) for line in lines if line.startswith("-A "))
    return FilterTable(chains, tuple((words[1], (*words, "")[2]) for words in appended))


def without(jumps: Sequence[Jump]) -> str:
    """Return the script that deletes ``jumps``, the last of a chain first: numbers stay true."""
    return _script(f"-D {jump.chain} {jump.number}" for jump in reversed(jumps))


def again(jumps: Sequence[Jump]) -> str:
    """Return the script that undoes :func:`without`: every rule in its old place."""
    return _script(f"-I {jump.chain} {jump.number} {jump.rule}" for jump in jumps)


def made_again(table: FilterTable) -> str:
    """Return the script that undoes :func:`removed`: chains, their rules, and the jumps to them."""
    own = set(table.own_chains())
    chains = [f":{chain} - [0:0]" for chain in table.own_chains()]
    rules = [f"-A {chain} {rule}" for chain, rule in table.rules if chain in own]
    jumps = [f"-I {jump.chain} {jump.number} {jump.rule}" for jump in table.jumps()]
    return _script([*chains, *rules, *jumps])


def removed(table: FilterTable) -> str:
    """Return the script that removes all that is kube-router's, and nothing else."""
    deleted = [f"-D {jump.chain} {jump.number}" for jump in reversed(table.jumps())]
    flushed = [f"-F {chain}" for chain in table.own_chains()]
    unmade = [f"-X {chain}" for chain in table.own_chains()]
    return _script([*deleted, *flushed, *unmade])


def own_sets(names: str) -> tuple[str, ...]:
    """Return those of ``ipset list -n`` that are kube-router's."""
    return tuple(name for name in names.split() if name.startswith(SETS))


def own_set_lines(saved: str) -> str:
    """Return those lines of ``ipset save`` that make kube-router's ipsets."""
    lines = (line.split(maxsplit=2) for line in saved.splitlines())
    return "".join(f"{' '.join(line)}\n" for line in lines if line[1].startswith(SETS))


def _script(lines: Iterable[str]) -> str:
    return "\n".join(("*filter", *lines, "COMMIT", ""))
