"""Which nodes of a cluster a run can use, and why it leaves the others alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Manifest, NodeInfo

LEAST = 2
"""The matrix needs a same node and another one."""

_KEEPS_OUT = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True, slots=True)
class Machines:
    """The nodes that a run uses, and a sentence for each that it treats otherwise."""

    used: tuple[NodeInfo, ...]
    notes: tuple[str, ...]


def choose(nodes: Iterable[Manifest], architectures: frozenset[str]) -> Machines:
    """Choose the nodes that can run our pods. ``architectures``: of our image; empty is every one.

    A taint that keeps pods out is an owner's wish, and such a node is left alone; only where there
    are not two others it is used all the same: pods that are placed by hand pass NoSchedule.
    """
    sound: list[Manifest] = []
    tainted: list[tuple[Manifest, str]] = []
    notes: list[str] = []
    for node in sorted(nodes, key=_name):
        why = _unusable(node, architectures)
        taints = _taints(node)
        if why:
            notes.append(f"node {_name(node)} is left out: {why}")
        elif taints:
            tainted.append((node, ", ".join(taints)))
        else:
            sound.append(node)
    for node, taints_ in tainted:
        if len(sound) < LEAST and "NoExecute" not in taints_:
            sound.append(node)
            notes.append(f"node {_name(node)} is used despite its taint {taints_}: {_FEW}")
        else:
            notes.append(f"node {_name(node)} is left out: it has the taint {taints_}")
    return Machines(tuple(_info(node) for node in sorted(sound, key=_name)), tuple(notes))


_FEW = f"there are not {LEAST} others"


def architectures_of(image: str) -> frozenset[str]:
    """Return what an image of ours runs on, by its tag; empty where the tag does not say."""
    tag = image.rpartition(":")[2]
    return frozenset(one for one in ("amd64", "arm64") if tag.endswith(f"-{one}"))


def _unusable(node: Manifest, architectures: frozenset[str]) -> str:
    labels = node["metadata"].get("labels") or {}
    machine: Mapping[str, Any] = node["status"].get("nodeInfo") or {}
    system = labels.get("kubernetes.io/os", machine.get("operatingSystem", "linux"))
    architecture = labels.get("kubernetes.io/arch", machine.get("architecture", ""))
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions") or ()}
    if system != "linux":
        return f"it runs {system.capitalize()}, and our pods are for Linux"
    if architectures and architecture not in architectures:
        return f"it is {architecture}, and our image is for {', '.join(sorted(architectures))}"
    if conditions.get("Ready") != "True":
        return "it is not ready"
    if node["spec"].get("unschedulable"):
        return "it is cordoned"
    return ""


def _taints(node: Manifest) -> list[str]:
    return [
        f"{one['key']}:{one['effect']}"
        for one in node["spec"].get("taints") or ()
        if one["effect"] in _KEEPS_OUT
    ]


def _info(node: Manifest) -> NodeInfo:
    listed = node["status"].get("addresses") or ()
    addresses = tuple(one["address"] for one in listed if one["type"] == "InternalIP")
    cidrs = node["spec"].get("podCIDRs") or ()
    return NodeInfo(_name(node), addresses[0], tuple(cidrs), addresses)


def _name(node: Manifest) -> str:
    return str(node["metadata"]["name"])
