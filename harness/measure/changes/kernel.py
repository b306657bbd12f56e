"""What an enforcer keeps in the kernel of a node: rules, sets and their elements, of any enforcer.

Counted is what stands in chains and sets that were not there before it was installed. So what the
node's proxy has counts for nothing, even where both use the same tables; only what an enforcer adds
to chains of others is missed, a jump or two. Rules of iptables-nft show in ``nft``; those of
iptables-legacy and the sets of ipset are asked for by their own programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Cluster, NodeRef

_LEGACY = ("iptables-legacy-save", "ip6tables-legacy-save")


@dataclass(frozen=True, slots=True)
class Contents:
    """How much there is."""

    rules: int = 0
    sets: int = 0
    """Maps are sets of pairs."""

    elements: int = 0

    def __add__(self, other: Contents) -> Contents:
        """Return both together."""
        return Contents(
            self.rules + other.rules, self.sets + other.sets, self.elements + other.elements
        )


Holders = dict[str, Contents]
"""Contents by the chain or set that has them."""


def read(cluster: Cluster, node: str) -> Holders:
    """Return what is in each chain and set of a node now."""
    found = of_nft(_output(cluster, node, "nft", "--json", "list", "ruleset"))
    for program in _LEGACY:
        found |= of_iptables(program, _output(cluster, node, program))
    return found | of_ipset(_output(cluster, node, "ipset", "save"))


def added(before: Mapping[str, Contents], now: Mapping[str, Contents]) -> Contents:
    """Return what is in the chains and sets that were not there before."""
    return sum((held for name, held in now.items() if name not in before), Contents())


def of_nft(text: str) -> Holders:
    """Read what ``nft --json list ruleset`` printed; nothing where it printed nothing."""
    found: Holders = {}
    for item in json.loads(text)["nftables"] if text.strip() else ():
        ((kind, body),) = item.items()
        match kind:
            case "chain":
                _add(found, _name("chain", body, "name"), Contents())
            case "rule":
                _add(found, _name("chain", body, "chain"), Contents(rules=1))
            case "set" | "map":
                held = Contents(sets=1, elements=len(body.get("elem", ())))
                _add(found, _name(kind, body, "name"), held)
    return found


def of_iptables(program: str, text: str) -> Holders:
    """Read what ``iptables-legacy-save`` printed."""
    found: Holders = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif held := re.match(r"-A (\S+)", line):
            _add(found, f"{program} {table} {held[1]}", Contents(rules=1))
    return found


def of_ipset(text: str) -> Holders:
    """Read what ``ipset save`` printed."""
    found: Holders = {}
    for words in map(str.split, text.splitlines()):
        match words:
            case ["create", name, *_]:
                _add(found, f"ipset {name}", Contents(sets=1))
            case ["add", name, *_]:
                _add(found, f"ipset {name}", Contents(elements=1))
    return found


def _name(kind: str, body: Mapping[str, Any], key: str) -> str:
    return f"{kind} {body['family']} {body['table']} {body[key]}"


def _add(found: Holders, name: str, held: Contents) -> None:
    found[name] = found.get(name, Contents()) + held


def _output(cluster: Cluster, node: str, *argv: str) -> str:
    """Return what a program says on a node; nothing where it is missing or cannot."""
    done = cluster.exec(NodeRef(node), ("sh", "-c", '"$@"', "sh", *argv))
    return done.stdout if done.returncode == 0 else ""
