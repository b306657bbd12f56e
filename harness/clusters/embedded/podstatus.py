"""A pod's status as its kubelet writes it: values in, a JSON object out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

UNPROBED = "ProbeNotSupported"
"""Why a pod is not Ready one of whose probes is of a kind that is not run here."""

_SIGNALLED = 128
"""A container that a signal ended has this and the signal's number as its exit code."""


@dataclass(frozen=True, slots=True)
class Life:
    """What the kubelet knows: addresses, when it started, how its containers ended."""

    addresses: tuple[str, ...]
    """The pod's, the primary one first."""
    host: tuple[str, ...]
    """The node's."""
    started: str
    exits: Mapping[int, int] = field(default_factory=dict)
    restarts: Mapping[int, int] = field(default_factory=dict)
    ended: Mapping[int, int] = field(default_factory=dict)
    """How the last run of a restarted container ended."""
    down: frozenset[int] = frozenset()
    """Containers that wait for their restart."""
    unstarted: frozenset[int] = frozenset()
    """Containers whose startup probe has not succeeded yet."""
    unready: frozenset[int] = frozenset()
    """Containers whose startup or readiness probe does not succeed."""
    unprobed: str = ""
    """What to say of a probe that is not run here; such a pod never gets Ready."""


def now() -> str:
    """Return the time as the API writes it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def status(pod: Object, life: Life) -> Object:
    """Return the status of a pod that lives, or whose containers have all ended."""
    containers = pod["spec"].get("containers") or []
    phase = _phase(len(containers), life.exits)
    ready = phase == "Running" and not (life.exits or life.down or life.unready)
    return {
        "phase": phase,
        "hostIP": life.host[0],
        "hostIPs": [{"ip": address} for address in life.host],
        "podIP": life.addresses[0],
        "podIPs": [{"ip": address} for address in life.addresses],
        "startTime": life.started,
        "qosClass": (pod.get("status") or {}).get("qosClass", "BestEffort"),
        "conditions": _conditions(life.started, ready=ready, unprobed=life.unprobed),
        "containerStatuses": [
            _container(pod, container, number, life) for number, container in enumerate(containers)
        ],
    }


def refused(pod: Object, reason: str, message: str) -> Object:
    """Return the status of a pod that cannot live here."""
    del pod
    return {
        "phase": "Failed",
        "reason": reason,
        "message": message,
        "startTime": now(),
        "conditions": _conditions(now(), ready=False),
    }


def out_of_room(pod: Object, node: str, room: int) -> Object:
    """Return the status of a pod that comes to a node which has as many as it has room for."""
    message = (
        f"Pod was rejected: Node {node} didn't have enough resource: pods, "
        f"requested: 1, used: {room}, capacity: {room}"
    )
    return refused(pod, "OutOfpods", message)


def _phase(containers: int, exits: Mapping[int, int]) -> str:
    if len(exits) < containers or not containers:
        return "Running"
    return "Failed" if any(exits.values()) else "Succeeded"


def _conditions(since: str, *, ready: bool, unprobed: str = "") -> list[Object]:
    states = {
        "PodScheduled": True,
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready,
    }
    why = {"reason": UNPROBED, "message": unprobed} if unprobed else {}
    return [
        {"type": kind, "status": str(value), "lastTransitionTime": since} | ({} if value else why)
        for kind, value in states.items()
    ]


def _container(pod: Object, container: Object, number: int, life: Life) -> Object:
    image = container.get("image", "")
    runs = number not in life.exits and number not in life.down
    return {
        "name": container["name"],
        "image": image,
        "imageID": image,
        "containerID": f"embedded://{pod['metadata']['uid']}-{number}",
        "ready": runs and number not in life.unready,
        "started": runs and number not in life.unstarted,
        "restartCount": life.restarts.get(number, 0),
        "state": _state(number, life),
        "lastState": _terminated(life.ended[number]) if number in life.ended else {},
    }


def _state(number: int, life: Life) -> Object:
    if number in life.exits:
        return _terminated(life.exits[number])
    if number in life.down:
        message = "the container ended and waits for its restart"
        return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    return {"running": {"startedAt": life.started}}


def _terminated(code: int) -> Object:
    """Return how a container ended; by a signal, its exit code is what a runtime says of it."""
    reason = "Completed" if code == 0 else "Error"
    seen = code if code >= 0 else _SIGNALLED - code
    return {"terminated": {"exitCode": seen, "reason": reason, "finishedAt": now()}}
