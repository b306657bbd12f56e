"""The rules of each cell, as files and the commands that load them on a node of the guest."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.enforcers import iptables
from harness.enforcers.kube_router_model.kernel import rules_script, sets_script
from harness.enforcers.kube_router_model.layout import layout
from harness.enforcers.kube_router_model.world import World
from harness.errors import EnforcerFailed
from harness.lab.cells import Cell, Kind
from harness.lab.dumps import Dump
from harness.lab.guest.network import NODES, POD_A, POD_B, POD_DEVICES, UPLINKS
from harness.workload import study

MEASURED = {"a": POD_A, "b": POD_B}
NETWORKS = {"a": "10.2.0.0/17", "b": "10.2.128.0/17"}
"""Each node's pod network: room for 8,000 pods."""

CLIENTS = {1: study.POLICY_CIDR, 2: "10.2.0.0/16"}
"""Who may ask the pods, by enforcement points: the study's network, or the pods."""

_BASE_CHAIN = "type filter hook forward priority filter - 5; policy accept;"
_PLAIN = {
    Kind.EMPTY: "",
    Kind.ESTABLISHED: "ct state established,related accept",
}


@dataclass(frozen=True, slots=True)
class Load:
    """A command to run on a node, and the file that it reads from its standard input."""

    argv: tuple[str, ...]
    file: str


def write(cell: Cell, folder: Path, dump: Dump | None = None) -> Mapping[str, list[Load]]:
    """Write the files of a cell into ``folder`` and return each node's commands."""
    nodes = NODES[: cell.points]
    return {node: list(_write(cell, node, folder, dump)) for node in nodes}


def _write(cell: Cell, node: str, folder: Path, dump: Dump | None) -> Iterator[Load]:
    match cell.kind:
        case Kind.NONE:
            return
        case Kind.EMPTY | Kind.ESTABLISHED:
            yield _file(folder, ("nft", "-f", "-"), f"{cell.kind.name}.nft", _plain(cell.kind))
        case Kind.BUNDLED | Kind.BUNDLED_FAST:
            fast = cell.kind is Kind.BUNDLED_FAST
            text = bundled(node, cell.pods, CLIENTS[cell.points], fast=fast, peers=cell.peers)
            name = f"{cell.kind.name}-{cell.pods}{'-peers' * cell.peers}-{cell.points}-{node}.nft"
            yield _file(folder, ("nft", "-f", "-"), name, text)
        case Kind.DUMP_RULESET:
            assert dump is not None  # noqa: S101  # such cells exist with a dump only
            yield _file(folder, ("nft", "-f", "-"), f"{cell.kind.name}.nft", dump.rules())
        case _:
            yield from _iptables(cell, node, folder, dump)


def _file(folder: Path, argv: tuple[str, ...], name: str, text: str) -> Load:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Load(argv, name)


def _plain(kind: Kind) -> str:
    return f"table inet lab {{\nchain forward {{\n{_BASE_CHAIN}\n{_PLAIN[kind]}\n}}\n}}\n"


def _iptables(cell: Cell, node: str, folder: Path, dump: Dump | None) -> Iterator[Load]:
    legacy = cell.kind in {Kind.MODEL_LEGACY, Kind.DUMP_LEGACY}
    restore = "iptables-legacy-restore" if legacy else "iptables-nft-restore"
    if cell.kind in {Kind.MODEL_LEGACY, Kind.MODEL_NFT}:
        sets, text = _model(node, cell.pods, CLIENTS[cell.points])
    else:
        assert dump is not None  # noqa: S101  # such cells exist with a dump only
        sets, text = dump.sets(), dump.rules()
    name = f"{cell.kind.name}-{cell.pods}-{cell.points}-{node}"
    if sets:
        yield _file(folder, ("ipset", "restore"), f"{name}.ipset", sets)
    yield _file(folder, (restore,), f"{name}.iptables", text)


def _model(node: str, count: int, network: str) -> tuple[str, str]:
    """Return what the model of kube-router 0.2.0 gives ipset and iptables-restore."""
    items = cluster(count, network)["items"]
    pods, spaces, policies = (
        [item for item in items if item["kind"] == kind]
        for kind in ("Pod", "Namespace", "NetworkPolicy")
    )
    made = layout(World.of(pods, spaces, policies), node)
    return sets_script(made), rules_script(made, iptables.parse(""))


def pods(node: str, count: int) -> list[str]:
    """Return the addresses of a node's pods, the measured one in the middle."""
    measured = ipaddress.ip_address(MEASURED[node])
    others = (item for item in ipaddress.ip_network(NETWORKS[node]).hosts() if item != measured)
    found = [str(next(others)) for _ in range(count - 1)]
    return [*found[: count // 2], str(measured), *found[count // 2 :]]


@cache
def bundled(node: str, count: int, network: str, *, fast: bool, peers: bool = False) -> str:
    """Return the bundled enforcer's program for a node, from the enforcer itself."""
    argv = [
        *(sys.executable, "-m", "enforcer", "render", "--node", node, "-f", "/dev/stdin"),
        *(f"--pod-interface={name}" for name in POD_DEVICES),
        *(f"--fast-interface={name}" for name in (*POD_DEVICES, *UPLINKS[node]) if fast),
    ]
    text = json.dumps(cluster(count, network, peers=peers))
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnforcerFailed(f"enforcer render: {done.stderr.strip()}")
    return done.stdout


def cluster(count: int, network: str, *, peers: bool = False) -> dict[str, Any]:
    """Return a cluster of two nodes with ``count`` pods each, and the study's policy.

    It lets ``network`` in; with ``peers`` every pod, too.
    """
    policy = study.policy()
    for rule in policy["spec"]["ingress"]:
        rule["from"] = [{"ipBlock": {"cidr": network}}]
        rule["from"] += [{"podSelector": {}}] if peers else []
    items = [
        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": study.NAMESPACE}},
        *(_node(node) for node in NODES),
        *(_pod(node, it) for node in NODES for it in pods(node, count)),
        policy,
    ]
    return {"kind": "List", "apiVersion": "v1", "items": items}


def _node(name: str) -> dict[str, Any]:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"podCIDR": NETWORKS[name], "podCIDRs": [NETWORKS[name]]},
        "status": {"addresses": [{"type": "InternalIP", "address": _NODE_ADDRESSES[name]}]},
    }


_NODE_ADDRESSES = {"a": "192.168.8.1", "b": "192.168.8.2"}


def _pod(node: str, address: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": f"pod-{address.replace('.', '-')}",
            "namespace": study.NAMESPACE,
            "labels": {"app": "lab"},
        },
        "spec": {"nodeName": node, "containers": [{"name": "nginx"}]},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
        },
    }


def as_json(loads: Mapping[str, Sequence[Load]], folder: str) -> dict[str, Any]:
    """Return the commands as the guest reads them."""
    return {
        node: [{"argv": it.argv, "input": f"{folder}/{it.file}" if it.file else ""} for it in many]
        for node, many in loads.items()
    }
