"""Rules that live in nftables tables of their own: switched by the tables' dormant flag.

A dormant table keeps its chains, sets, elements and counters, and the kernel takes its hooks out
of the packets' way. All tables of a node change in one transaction. Connection tracking goes on
(its own hooks are held by the node's proxy), so connections survive both switches.
See ``flags`` under TABLES in nft(8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.enforcers.base import State
from harness.enforcers.node import Node
from harness.errors import EnforcerFailed

_DORMANT = re.compile(r"^\tflags\b.*\bdormant\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NftTables:
    """Tables of one name, in any family, and the command that removes them."""

    table: str
    cleanup: tuple[str, ...]

    def state(self, node: Node) -> State:
        """Read whether the tables are there, and awake; all of a node's have to agree."""
        dormant = {family: self._dormant(node, family) for family in self._families(node)}
        if not dormant:
            return State.ABSENT
        if len(set(dormant.values())) > 1:
            asleep = ", ".join(family for family, sleeps in dormant.items() if sleeps)
            raise EnforcerFailed(
                f"on node {node.name}: of the tables named {self.table} only {asleep} is dormant"
            )
        return State.OFF if all(dormant.values()) else State.ON

    def take_away(self, node: Node) -> None:
        """Make the tables that are there dormant."""
        self._declare(node, " { flags dormant; }")

    def put_back(self, node: Node) -> None:
        """Wake the tables up: declared without the flag, a table loses it."""
        self._declare(node, "")

    def remove(self, node: Node) -> None:
        """Have the enforcer's own command remove its tables, and what else it changed."""
        node.run(*self.cleanup)

    def _declare(self, node: Node, flags: str) -> None:
        # only tables that exist: "add table" would make the others
        families = self._families(node)
        if families:
            node.run("nft", "; ".join(f"add table {f} {self.table}{flags}" for f in families))

    def _families(self, node: Node) -> tuple[str, ...]:
        # The text, not the JSON: of a dormant table nft 1.0.6 prints freed memory as its "flags"
        # there, which may be no JSON at all or end it with a signal.
        tables = (line.split() for line in node.run("nft", "list", "tables").splitlines())
        return tuple(family for _, family, name in tables if name == self.table)

    def _dormant(self, node: Node, family: str) -> bool:
        text = node.run("nft", "--terse", "list", "table", family, self.table)
        return _DORMANT.search(text) is not None
