"""Why a pod is not as it should be: the few lines of ``kubectl describe`` and ``logs`` that tell.

They are for an error's text: who reads it does not have the cluster any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.pods import ref_of
from harness.errors import ClusterError

_EVENTS = 5
_LOG_LINES = 12
_WIDTH = 300
"""Characters of a line: a scheduler's sentence about a few nodes, or a registry's."""

_SECONDS = 30.0
"""An API server that is slower than this is told of instead of waited for."""

_REPEATED = "ContainersNotReady"
"""Reason of a condition that says again what the containers say."""


def diagnosis(kubectl: Kubectl, namespace: str, name: str) -> str:
    """Return what the API, the last events and the log say of a pod, indented lines.

    What cannot be read is one of them, so that this never fails in place of what it explains.
    """
    where = ("-n", namespace)
    about = f"involvedObject.kind=Pod,involvedObject.name={name}"
    parts: Mapping[str, Callable[[], Iterable[str]]] = {
        "pod": lambda: described(kubectl.get("pod", *where, name)),
        "events": lambda: _events(kubectl.get("events", *where, f"--field-selector={about}")),
        "log": lambda: _log(kubectl.run(*where, "logs", name, f"--tail={_LOG_LINES}",
                                        timeout=_SECONDS)),
    }  # fmt: skip
    lines = [line for what, ask in parts.items() for line in _asked(what, ask)]
    return "\n".join(f"  {line[:_WIDTH]}" for line in lines)


def described(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for the pod, for each condition that is not met, and for each container."""
    status: Mapping[str, Any] = pod.get("status") or {}
    node = pod["spec"].get("nodeName")
    where = f"on {node}" if node else "on no node"
    yield _said(f"pod {ref_of(pod)}: {status.get('phase', 'Unknown')}, {where}", status)
    for one in status.get("conditions") or ():
        if one["status"] != "True" and one.get("reason", _REPEATED) != _REPEATED:
            yield _said(f"{one['type']} {one['status']}", one)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(kind) or ():
            yield _container(one)


def _container(status: Mapping[str, Any]) -> str:
    """Return a container's state, and how it ended before where it was started again."""
    ready = "ready" if status.get("ready") else "not ready"
    line = f"container {status['name']} ({status['image']}): {ready}, {_state(status['state'])}"
    before = _state(status.get("lastState") or {})
    if not before:
        return line
    return f"{line}; started again, times: {status['restartCount']}; before: {before}"


def _state(states: Mapping[str, Mapping[str, Any]]) -> str:
    """Return ``waiting``, ``running`` or ``terminated``, and why."""
    for kind, state in states.items():
        code = f", exit code {state['exitCode']}" if "exitCode" in state else ""
        return _said(f"{kind}{code}", state)
    return ""


def _events(found: Mapping[str, Any]) -> Iterator[str]:
    for one in sorted(found["items"], key=_when)[-_EVENTS:]:
        times = (one.get("series") or one).get("count") or 1
        often = f" ({times} times)" if times > 1 else ""
        yield _said(f"event{often}", one)


def _when(event: Mapping[str, Any]) -> str:
    """Return when an event was seen last: by the new API, or by the old one."""
    seen = (event.get("series") or {}).get("lastObservedTime")
    return str(seen or event.get("lastTimestamp") or event.get("eventTime") or "")


def _log(text: str) -> Iterator[str]:
    return (f"log: {line}" for line in text.strip().splitlines()[-_LOG_LINES:])


def _said(what: str, of: Mapping[str, Any]) -> str:
    """Return it with the reason and the message that the API gives, on one line."""
    why = (" ".join(str(of[key]).split()) for key in ("reason", "message") if of.get(key))
    return ": ".join((what, *why))


def _asked(what: str, ask: Callable[[], Iterable[str]]) -> list[str]:
    try:
        return list(ask())
    except ClusterError as error:
        return [f"{what}: not to be read: {' '.join(str(error).split())}"]
