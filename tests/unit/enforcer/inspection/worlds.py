"""A small cluster as a dump, which the commands that only look are asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def pod(name: str, node: str, address: str, **labels: str) -> Json:
    """Return a pod of namespace ``shop``."""
    return {
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": address}] if address else []},
    }


def node(name: str, address: str, network: str) -> Json:
    """Return a node."""
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDRs": [network]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def policy(name: str, **spec: Any) -> Json:
    """Return a policy of namespace ``shop``."""
    return {"kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": name}, "spec": spec}


WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
OBJECTS = [
    {"kind": "Namespace", "metadata": {"name": "shop", "labels": {}}},
    node("n1", "192.0.2.1", "10.1.0.0/24"),
    node("n2", "192.0.2.2", "10.2.0.0/24"),
    pod("web", "n1", "10.1.0.2", app="web"),
    pod("cli", "n1", "10.1.0.3", app="cli"),
    pod("far", "n2", "10.2.0.2", app="cli"),
    pod("new", "n1", ""),
    policy(
        "from-cli",
        **WEB,
        ingress=[
            {"from": [{"podSelector": {"matchLabels": {"app": "cli"}}}], "ports": [{"port": 80}]},
            {"from": [{"ipBlock": {"cidr": "14.215.0.0/16"}}], "ports": [{"port": "http"}]},
        ],
    ),
    policy("others", podSelector={"matchLabels": {"app": "db"}}),
]


def write(folder: Path, *more: Json) -> Path:
    """Write the cluster, with some more objects, as kubectl prints it."""
    path = folder / "cluster.json"
    path.write_text(json.dumps({"kind": "List", "items": [*OBJECTS, *more]}))
    return path
