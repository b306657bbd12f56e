"""The scheduler: spreads pods that name no node over the nodes that are ready and have room.

The node with the fewest pods gets the next one. Beyond room, readiness and nodeSelector it knows
nothing: a pod that asks for more (affinity, topology spread) is left pending, saying so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

from harness.clusters.embedded.apiserver.resources import NODES, PODS, Object
from harness.clusters.embedded.apiserver.store import Key, Record, Store

_BEYOND = ("affinity", "topologySpreadConstraints", "schedulingGates", "resourceClaims")
_CLOSED = {"NoSchedule", "NoExecute"}


class Scheduler:
    """Follows pods and nodes, and binds pods as soon as a node has room for them."""

    def __init__(self, store: Store) -> None:
        """Serve one store."""
        self._store = store
        self._homes: dict[Key, str] = {}
        self._load: Counter[str] = Counter()
        self._pending: dict[Key, None] = {}

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_pods())
            tasks.create_task(self._follow_nodes())

    async def _follow_pods(self) -> None:
        cursor = self._store.follow(PODS, self._store.version)
        for record in self._store.list(PODS):
            self._note(record.key, record)
        while True:
            self._place_pending()
            for change in await cursor.next():
                self._note(change.last.key, change.after)

    async def _follow_nodes(self) -> None:
        cursor = self._store.follow(NODES, self._store.version)
        while True:
            await cursor.next()
            self._place_pending()

    def _note(self, key: Key, pod: Record | None) -> None:
        """Take note of where a pod is, or that it waits, or that it is over."""
        self._pending.pop(key, None)
        node = "" if pod is None or _over(pod.value) else pod.value["spec"].get("nodeName", "")
        self._seat(key, node)
        if pod is not None and not node and not _over(pod.value):
            self._pending[key] = None

    def _seat(self, key: Key, node: str) -> None:
        before = self._homes.pop(key, "")
        if before:
            self._load[before] -= 1
        if node:
            self._homes[key] = node
            self._load[node] += 1

    def _place_pending(self) -> None:
        if not self._pending:
            return
        nodes = [record.value for record in self._store.list(NODES)]
        for key in tuple(self._pending):
            pod = self._store.find(PODS, key)
            if pod is not None and not pod.value["spec"].get("nodeName"):
                self._place(pod, nodes)

    def _place(self, pod: Record, nodes: list[Object]) -> None:
        problem = _unserved(pod.value)
        open_nodes = [node for node in nodes if _is_open(node, pod.value)]
        free = [
            (self._load[name], name)
            for name, room in map(_room, open_nodes)
            if self._load[name] < room
        ]
        if problem or not free:
            counts = f"{len(open_nodes)} of {len(nodes)} nodes are ready and fit, none has room"
            self._store.put(PODS, _postponed(pod, problem or counts))
            return
        node = min(free)[1]
        del self._pending[pod.key]
        self._seat(pod.key, node)
        self._store.put(PODS, _bound(pod, node))


def _over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _unserved(pod: Object) -> str:
    asked = [field for field in _BEYOND if pod["spec"].get(field)]
    return f"this scheduler does not serve {', '.join(asked)}: set nodeName" if asked else ""


def _is_open(node: Object, pod: Object) -> bool:
    """Whether a node takes this pod, room apart."""
    spec, status = node.get("spec", {}), node.get("status", {})
    labels = node["metadata"].get("labels", {})
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions", ())
    )
    closed = spec.get("unschedulable") or any(
        taint.get("effect") in _CLOSED for taint in spec.get("taints", ())
    )
    wanted = pod["spec"].get("nodeSelector", {})
    return ready and not closed and wanted.items() <= labels.items()


def _room(node: Object) -> tuple[str, int]:
    """Return a node's name and how many pods it may hold; as in Kubernetes, none if unsaid."""
    pods = node.get("status", {}).get("allocatable", {}).get("pods", 0)
    return node["metadata"]["name"], int(pods)


def _bound(pod: Record, node: str) -> Object:
    value = pod.fresh()
    value["spec"]["nodeName"] = node
    _set_condition(value, {"type": "PodScheduled", "status": "True"})
    return value


def _postponed(pod: Record, why: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    value = pod.fresh()
    _set_condition(value, condition | {"message": why})
    return value


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
