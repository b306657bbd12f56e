"""A dumped cluster to the nft program of one node, without a kernel or an API server."""

from __future__ import annotations

from pathlib import Path

from enforcer.errors import SettingsError
from enforcer.kube.dump import load_dump
from enforcer.model.net import Family
from enforcer.nft.diff import diff
from enforcer.policy.compile import compile_node
from enforcer.ruleset.lower import NOTHING, lower
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import Wiring

FIRST_EPOCHS = dict.fromkeys(Family, 1)


def rendered(dump: Path, node: str, wiring: Wiring) -> tuple[str, list[str]]:
    """Return the program as nft text, and the problems of the objects.

    The links of the node are not in a dump: ``wiring`` says them. SettingsError when the file is no
    dump; SettingsError when the dump does not know the node.
    """
    cluster = load_dump(dump)
    if node not in cluster.nodes:
        known = ", ".join(sorted(cluster.nodes)) or "none"
        message = f"--node: {dump} has no Node {node}; it has: {known}"
        raise SettingsError(message)
    compiled = compile_node(cluster, node)
    want = lower(compiled, wiring, FIRST_EPOCHS, LowerOptions())
    program = "".join(str(transaction) for transaction in diff(NOTHING, want))
    return program, [f"{item.subject}: {item.message}" for item in compiled.problems]
