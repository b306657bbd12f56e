"""A yardstick: an artificial enforcer whose rules cost each packet a known number of comparisons.

Every packet that a node forwards, in either direction, walks ``N`` rules that it never matches;
after them a fixed handful lets replies and the study's clients pass and drops what else is bound
for the node's pods. Three numbers of rules that do not come out in order, and on a line, show that
it is the instrument that errs. It follows no policies and has no daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster
from harness.enforcers.base import State, Usage
from harness.enforcers.daemonset import chosen_nodes
from harness.enforcers.nft_tables import NftTables
from harness.enforcers.node import Node
from harness.errors import EnforcerFailed
from harness.requirements import require_tools
from harness.workload.study import POLICY_CIDR

TABLE = "harness_linear"
MOST_RULES = 10_000

_NEVER = "198.51.100"
"""Of RFC 5737, for documentation: no host of a cluster has such an address."""


class LinearRules:
    """``count`` rules that each packet walks in vain."""

    def __init__(self, count: int) -> None:
        """Take the number of rules; nothing is touched yet."""
        self.name = f"linear-rules={count}"
        self.count = count
        self._rules = _rules_in(TABLE)
        self._nodes: tuple[Node, ...] = ()

    def describe(self) -> Mapping[str, Any]:
        """Return what it is, and how many rules it has."""
        return {"name": self.name, "version": "a yardstick, no enforcer", "rules": self.count}

    def share_nodes(self, number: int) -> None:
        """Take a table of its own: two yardsticks may be compared."""
        self._rules = _rules_in(f"{TABLE}_{number}")

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Load the rules on each of ``nodes``."""
        if self._nodes:
            raise EnforcerFailed(f"{self.name} is installed already")
        require_tools("nft")
        logs.mkdir(parents=True, exist_ok=True)
        chosen = chosen_nodes(cluster, nodes)
        cidrs = {info.name: info.pod_cidrs for info in cluster.nodes()}
        self._nodes = tuple(Node(cluster, name, logs.absolute()) for name in chosen)
        for node in self._nodes:
            script = "\n".join(program(self._rules.table, self.count, cidrs[node.name]))
            file = node.files / f"{self._rules.table}-{node.name}.nft"
            file.write_text(script + "\n")
            node.run("nft", "-f", str(file))

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return at once: the rules are loaded, and nothing changes them."""

    def disable(self) -> None:
        """Make the rules dormant."""
        for node in self._nodes:
            self._rules.take_away(node)

    def enable(self) -> None:
        """Wake the rules up."""
        for node in self._nodes:
            self._rules.put_back(node)

    def hold(self) -> None:
        """Wake the rules up: there is no daemon to stop."""
        self.enable()

    def state(self) -> State:
        """Read from the first node's kernel whether the rules act; all are switched together."""
        return self._rules.state(self._nodes[0]) if self._nodes else State.ABSENT

    def restart(self) -> None:
        """Wake the rules up: there is no daemon to start."""
        self.enable()

    def uninstall(self) -> None:
        """Remove the rules. Idempotent."""
        for node in self._nodes:
            self._rules.remove(node)
        self._nodes = ()

    def cpu_seconds(self) -> float:
        """Return 0: there is no daemon."""
        return 0.0

    def usage(self) -> Mapping[str, Usage]:
        """Return nothing: there is no daemon."""
        return {}


def _rules_in(table: str) -> NftTables:
    return NftTables(table, ("nft", f"add table ip {table}; delete table ip {table}"))


def program(table: str, count: int, cidrs: Sequence[str]) -> Iterator[str]:
    """Yield the nftables program of a node with these pod ranges, line by line."""
    pods = ", ".join(cidr for cidr in cidrs if ":" not in cidr)
    yield f"table ip {table} {{"
    yield "chain forward {"
    yield "type filter hook forward priority filter; policy accept;"
    yield from (f"ip saddr {_NEVER}.{number % 256} drop" for number in range(count))
    yield "ct state established,related accept"
    yield f"ip saddr {POLICY_CIDR} accept"
    yield f"ip daddr {{ {pods} }} drop"
    yield "}"
    yield "}"
