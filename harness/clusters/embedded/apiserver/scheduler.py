"""The scheduler: spreads pods that name no node over the nodes that are ready and have room.

The node with the fewest pods gets the next one. Beyond room, readiness and nodeSelector it knows
nothing: a pod that asks for more (affinity, topology spread) is left pending, saying so.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from harness.clusters.embedded.apiserver.resources import NODES, PODS, Object
from harness.clusters.embedded.apiserver.store import Key, Record, Store

_BEYOND = ("affinity", "topologySpreadConstraints", "schedulingGates", "resourceClaims")
_CLOSED = {"NoSchedule", "NoExecute"}


class _Note(enum.Enum):
    """What a change of a pod means to the pods that wait."""

    NOTHING = enum.auto()
    NEW = enum.auto()
    LEFT = enum.auto()


class Scheduler:
    """Follows pods and nodes, and binds pods as soon as a node has room for them.

    A new pod is tried when it comes; all that wait are tried again when a node has changed or a
    pod has left one.
    """

    def __init__(self, store: Store) -> None:
        """Serve one store."""
        self._store = store
        self._homes: dict[Key, str] = {}
        self._load: Counter[str] = Counter()
        self._waiting: dict[Key, str] = {}
        """Pods without a node, and why: what they were last told."""

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_pods())
            tasks.create_task(self._follow_nodes())

    async def _follow_pods(self) -> None:
        cursor = self._store.follow(PODS, self._store.version)
        for record in self._store.list(PODS):
            self._note(record.key, record)
        self._place(tuple(self._waiting))
        while True:
            changes = await cursor.next()
            notes = [self._note(change.last.key, change.after) for change in changes]
            if _Note.LEFT in notes:
                self._place(tuple(self._waiting))
            elif _Note.NEW in notes:
                self._place([key for key, why in self._waiting.items() if not why])

    async def _follow_nodes(self) -> None:
        cursor = self._store.follow(NODES, self._store.version)
        while True:
            await cursor.next()
            self._place(tuple(self._waiting))

    def _note(self, key: Key, pod: Record | None) -> _Note:
        """Take note of where a pod is, or that it waits, or that it is over."""
        alive = pod is not None and not _over(pod.value)
        node = pod.value["spec"].get("nodeName", "") if pod is not None and alive else ""
        before = self._homes.get(key, "")
        self._seat(key, node)
        if alive and not node:
            new = key not in self._waiting
            self._waiting.setdefault(key, "")
            return _Note.NEW if new else _Note.NOTHING
        self._waiting.pop(key, None)
        return _Note.LEFT if before and not node else _Note.NOTHING

    def _seat(self, key: Key, node: str) -> None:
        before = self._homes.pop(key, "")
        if before:
            self._load[before] -= 1
        if node:
            self._homes[key] = node
            self._load[node] += 1

    def _place(self, keys: Iterable[Key]) -> None:
        nodes = [record.value for record in self._store.list(NODES)]
        rooms = {_name(node): _room(node) for node in nodes if _is_open(node)}
        rooms = {name: room for name, room in rooms.items() if self._load[name] < room}
        labels = {_name(node): node["metadata"].get("labels", {}).items() for node in nodes}
        why = f"none of {len(nodes)} nodes is ready, is selected by this pod and has room"
        for key in keys:
            pod = self._store.find(PODS, key)
            if pod is None or pod.value["spec"].get("nodeName"):
                continue
            wanted = pod.value["spec"].get("nodeSelector", {}).items()
            fitting = (name for name in rooms if wanted <= labels[name])
            problem = _unserved(pod.value)
            node = "" if problem else min(fitting, key=lambda n: (self._load[n], n), default="")
            if not node:
                self._postpone(pod, problem or why)
                continue
            self._bind(pod, node)
            if self._load[node] >= rooms[node]:
                del rooms[node]

    def _bind(self, pod: Record, node: str) -> None:
        del self._waiting[pod.key]
        self._seat(pod.key, node)
        value = pod.fresh()
        value["spec"]["nodeName"] = node
        _set_condition(value, {"type": "PodScheduled", "status": "True"})
        self._store.put(PODS, value)

    def _postpone(self, pod: Record, why: str) -> None:
        if self._waiting[pod.key] == why:
            return
        self._waiting[pod.key] = why
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        value = pod.fresh()
        _set_condition(value, condition | {"message": why})
        self._store.put(PODS, value)


def _over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _unserved(pod: Object) -> str:
    asked = [field for field in _BEYOND if pod["spec"].get(field)]
    return f"this scheduler does not serve {', '.join(asked)}: set nodeName" if asked else ""


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


def _is_open(node: Object) -> bool:
    """Whether a node takes new pods at all."""
    spec = node.get("spec", {})
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in node.get("status", {}).get("conditions", ())
    )
    tainted = any(taint.get("effect") in _CLOSED for taint in spec.get("taints", ()))
    return ready and not tainted and not spec.get("unschedulable")


def _room(node: Object) -> int:
    """Return how many pods a node may hold; as in Kubernetes, none if it does not say."""
    pods = str(node.get("status", {}).get("allocatable", {}).get("pods", 0))
    return int(pods) if pods.isdecimal() else 0


def _set_condition(pod: Object, condition: Object) -> None:
    """Set a condition; its transition time changes only when its status does."""
    conditions = pod["status"].setdefault("conditions", [])
    before = next((c for c in conditions if c["type"] == condition["type"]), None)
    if before is not None:
        conditions.remove(before)
    if before is not None and before["status"] == condition["status"]:
        since = before["lastTransitionTime"]
    else:
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions.append(condition | {"lastTransitionTime": since})
