"""What a node's kernel holds at the moment of a wrong verdict, for the story behind a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.clusters.base import Cluster, NodeRef, PodRef
from harness.enforcers.base import Enforcer, Explains
from harness.errors import HarnessError
from harness.matrix.compare import Finding
from harness.matrix.steps import Step
from harness.results import RunFolder

Collect = Callable[[Cluster, Enforcer, Step], tuple[str, ...]]

_COMMANDS = (
    ("nft", "list", "ruleset"),
    ("iptables-save",),
    ("ipset", "list"),
    ("conntrack", "-L"),
    ("ip", "-brief", "address"),
    ("sysctl", "net.bridge.bridge-nf-call-iptables"),
)
_LIMIT = 400_000
"""Characters of one command's output that are kept."""
_SECONDS = 20.0
_EXPLAINED = 3
"""Wrong connections of a node that its enforcer is asked about."""


def no_evidence(cluster: Cluster, enforcer: Enforcer, step: Step) -> tuple[str, ...]:
    """Keep nothing."""
    del cluster, enforcer, step
    return ()


def keep_in(folder: RunFolder) -> Collect:
    """Return what writes the state of the nodes of wrong cells into a run's folder.

    It returns the names of the files, relative to the folder.
    """

    def collect(cluster: Cluster, enforcer: Enforcer, step: Step) -> tuple[str, ...]:
        names = []
        for node in sorted(nodes_of(step.findings)):
            name = f"evidence/{step.wiring}/{step.case.id}-{step.number}-{node}.txt"
            words = explained(cluster, enforcer, node, step.findings)
            folder.write_text(name, words + state_of(cluster, node))
            names.append(name)
        return tuple(names)

    return collect


def nodes_of(findings: Iterable[Finding]) -> set[str]:
    """Return the nodes at which wrong cells begin or end."""
    wrong = (finding.cell for finding in findings if not finding.right)
    return {end.node for cell in wrong for end in (cell.client, cell.server) if end.node}


def state_of(cluster: Cluster, node: str) -> str:
    """Return what a node's kernel says of rules, sets, connections and links."""
    parts = []
    for argv in _COMMANDS:
        try:
            done = cluster.exec(NodeRef(node), argv, _SECONDS)
            said = done.stdout or done.stderr
        except HarnessError as error:
            said = str(error)
        parts.append(f"$ {' '.join(argv)}\n{said[:_LIMIT]}\n")
    return "\n".join(parts)


def explained(cluster: Cluster, enforcer: Enforcer, node: str, findings: Iterable[Finding]) -> str:
    """Return what an enforcer that can explain itself says of a node's first wrong cells."""
    if not isinstance(enforcer, Explains):
        return ""
    wrong = (one for one in findings if not one.right)
    here = [one for one in wrong if node in {one.cell.client.node, one.cell.server.node}]
    parts: list[str] = []
    for client, target in dict.fromkeys(map(explain_words, here)):
        if len(parts) < _EXPLAINED:
            said = enforcer.explain(cluster, node, client, target)
            parts.append(f"$ explain {client} {target}\n{said}\n")
    return "\n".join(parts)


def explain_words(finding: Finding) -> tuple[str, ...]:
    """Return FROM and TO:PORT/PROTO of a cell, as ``enforcer explain`` takes them."""
    cell = finding.cell
    end = cell.server.place if isinstance(cell.server.place, PodRef) else cell.server.address
    target = f"{end}:{cell.port}/{cell.protocol.value.lower()}" if cell.port else f"{end}/icmp"
    return str(cell.client.place if cell.client.node else cell.client.address), target
