"""What random clusters are made of: few names, so that selectors and pods often meet."""

from __future__ import annotations

import random
from typing import Any

NAMESPACES = ("nsa", "nsb", "nsc")
PODS = tuple((space, f"{space}-{number}") for space in NAMESPACES for number in range(3))
PORTS = (80, 81)
PROTOCOLS = ("TCP", "UDP")
KEYS = {"app": ("x", "y"), "tier": ("1", "2")}

Manifest = dict[str, Any]


def namespaces() -> list[Manifest]:
    """Return the namespaces; one has no labels at first."""
    return [
        _object("Namespace", name, labels={"app": "x"} if name == "nsa" else {})
        for name in NAMESPACES
    ]


def pods(draw: random.Random) -> list[Manifest]:
    """Return all pods."""
    return [pod(draw, *one) for one in PODS]


def pod(draw: random.Random, namespace: str, name: str) -> Manifest:
    """Return a pod on one of two nodes: its third one on either."""
    number = int(name[-1])
    node = f"node-{number + 1 if number < 2 else draw.choice([1, 2])}"
    made = _object("Pod", name, namespace=namespace, labels={**labels(draw), "name": name})
    made["spec"] = {"nodeName": node, "containers": [{"name": "main", "image": "busybox"}]}
    return made


def services() -> list[Manifest]:
    """Return a Service for one pod of each namespace."""
    made = []
    for space in NAMESPACES:
        service = _object("Service", "first", namespace=space)
        ports = [
            {"name": one.lower(), "protocol": one, "port": 8000, "targetPort": 80}
            for one in PROTOCOLS
        ]
        service["spec"] = {
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"name": f"{space}-0"},
            "ports": ports,
        }
        made.append(service)
    return made


def labels(draw: random.Random) -> dict[str, str]:
    """Return some labels."""
    return {key: draw.choice(values) for key, values in KEYS.items() if draw.random() < 0.7}


def relabelled(draw: random.Random) -> dict[str, str | None]:
    """Return a patch of labels: each key gets a value or goes."""
    return {key: draw.choice([*values, None]) for key, values in KEYS.items()}


def policy(draw: random.Random, name: str) -> Manifest:
    """Return a policy."""
    made = _object("NetworkPolicy", name, namespace=draw.choice(NAMESPACES))
    made["apiVersion"] = "networking.k8s.io/v1"
    spec: Manifest = {"podSelector": selector(draw)}
    kinds = draw.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"], None])
    if kinds is not None:
        spec["policyTypes"] = kinds
    if draw.random() < 0.8:
        spec["ingress"] = [rule(draw, "from") for _ in range(draw.randrange(3))]
    if draw.random() < 0.5:
        spec["egress"] = [rule(draw, "to") for _ in range(draw.randrange(3))]
    return made | {"spec": spec}


def rule(draw: random.Random, side: str) -> Manifest:
    """Return a rule; peers and ports may be missing or empty, which is the same."""
    made: Manifest = {}
    if draw.random() < 0.8:
        made[side] = [peer(draw) for _ in range(draw.choice([0, 1, 1, 2, 3]))]
    if draw.random() < 0.6:
        made["ports"] = [port(draw) for _ in range(draw.choice([0, 1, 1, 2]))]
    return made


def port(draw: random.Random) -> Manifest:
    """Return a port by number, or every port of a protocol."""
    made: Manifest = {"protocol": draw.choice(PROTOCOLS)} if draw.random() < 0.8 else {}
    return made | ({"port": draw.choice(PORTS)} if draw.random() < 0.8 else {})


def peer(draw: random.Random) -> Manifest:
    """Return a peer of any kind."""
    match draw.choice(["pods", "pods", "namespaces", "both", "block", "block"]):
        case "pods":
            return {"podSelector": selector(draw)}
        case "namespaces":
            return {"namespaceSelector": selector(draw, spaces=True)}
        case "both":
            return {
                "namespaceSelector": selector(draw, spaces=True),
                "podSelector": selector(draw),
            }
        case _:
            return {"ipBlock": block(draw)}


def selector(draw: random.Random, *, spaces: bool = False) -> Manifest:
    """Return a selector with each of the four operators now and then; often an empty one."""
    made: Manifest = {}
    if spaces and draw.random() < 0.3:
        made["matchLabels"] = {"kubernetes.io/metadata.name": draw.choice(NAMESPACES)}
    elif draw.random() < 0.4:
        key = draw.choice(list(KEYS))
        made["matchLabels"] = {key: draw.choice(KEYS[key])}
    if draw.random() < 0.4:
        made["matchExpressions"] = [_expression(draw) for _ in range(draw.choice([1, 2]))]
    return made


def _expression(draw: random.Random) -> Manifest:
    key = draw.choice([*KEYS, "nowhere"])
    operator = draw.choice(["In", "NotIn", "Exists", "DoesNotExist"])
    made = {"key": key, "operator": operator}
    if operator in {"In", "NotIn"}:
        return made | {"values": draw.sample(["x", "y", "1", "2"], draw.choice([1, 2, 3]))}
    return made


BLOCKS = {
    4: {
        "0.0.0.0/0": ["14.215.0.0/16", "10.128.0.0/9", "8.8.8.8/32", "172.20.0.0/16"],
        "14.208.0.0/12": ["14.215.0.0/16", "14.216.0.10/32"],
        "14.215.0.0/16": ["14.215.0.0/24", "14.215.0.10/31"],
        "10.128.0.0/9": ["10.128.1.0/24", "10.128.2.2/31"],
        "172.20.1.0/24": ["172.20.1.1/32"],
        "10.128.1.2/32": [],
        "10.128.2.3/24": ["10.128.2.0/30"],
    },
    6: {
        "::/0": ["2001:db8:14:215::/64", "fd00:10:128::/48", "fd00:172:20::/64"],
        "2001:db8:14::/48": ["2001:db8:14:215::/64", "2001:db8:14:216::10/128"],
        "2001:db8:14:215::/64": ["2001:db8:14:215::10/127"],
        "fd00:10:128::/48": ["fd00:10:128:1::/64", "fd00:10:128:2::2/127"],
        "fd00:10:128:1::2/128": [],
        "fd00:10:128:2::3/64": ["fd00:10:128:2::/126"],
    },
}
"""Ranges of each family, with what may be excepted: outside hosts, nodes, pods, everything."""


def block(draw: random.Random) -> Manifest:
    """Return a range of addresses; one of a family that nobody has says nothing."""
    ranges = BLOCKS[draw.choice([4, 6])]
    cidr = draw.choice(list(ranges))
    excepted = draw.sample(ranges[cidr], draw.randrange(len(ranges[cidr]) + 1))
    return {"cidr": cidr} | ({"except": excepted} if excepted else {})


def _object(kind: str, name: str, **metadata: Any) -> Manifest:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name} | metadata}
