"""Which pod is where: its name leads to its node and its UID, by which a prober enters it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.clusters.base import Manifest, PodRef
from harness.clusters.pods import ref_of
from harness.errors import ClusterError

_OVER = {"Succeeded", "Failed"}
_HOPELESS = {
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
}
"""Reasons for which a container waits that time does not mend."""

_NEVER_RAN = {"StartError", "ContainerCannotRun"}
"""Reasons of containerd's and of docker's shim. Without a restart the pod is Failed, like one that
has done its work badly; and its address answers nobody."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a pod is, as its node's prober knows it."""

    node: str
    uid: str
    address: str = ""


@dataclass(slots=True)
class Whereabouts:
    """The pods that run, as they were seen last."""

    _seats: dict[PodRef, Seat] = field(default_factory=dict)

    def learn(self, pods: Iterable[Manifest]) -> bool:
        """Take in what the API says now; returns whether there is a pod that was not known."""
        news = False
        for pod in pods:
            ref, seat = ref_of(pod), _seat(pod)
            news = news or self._seats.get(ref) != seat
            self._seats[ref] = seat
        return news

    def seat(self, pod: PodRef) -> Seat:
        """Return where a pod is; ClusterError where it was never seen."""
        try:
            return self._seats[pod]
        except KeyError:
            raise ClusterError(f"there is no pod {pod} that runs in this cluster") from None


def _seat(pod: Manifest) -> Seat:
    address = pod["status"].get("podIP", "")
    return Seat(pod["spec"].get("nodeName", ""), pod["metadata"]["uid"], address)


def is_over(pod: Manifest) -> bool:
    """Whether a pod has finished, or is being deleted: nobody waits for it."""
    return pod["status"].get("phase") in _OVER or "deletionTimestamp" in pod["metadata"]


def problems(pods: Iterable[Manifest]) -> Iterator[str]:
    """Yield a sentence for each pod that will never start."""
    for pod in pods:
        status: Mapping[str, Any] = pod["status"]
        if status.get("phase") == "Failed" and not status.get("containerStatuses"):
            yield f"{ref_of(pod)}: {status.get('reason')}: {status.get('message')}"
        for container in status.get("containerStatuses") or ():
            if why := _never_starts(container["state"], status.get("phase")):
                said = why.get("message", "")
                yield f"{ref_of(pod)}: {why['reason']} ({container['image']}) {said}".rstrip()


def _never_starts(state: Mapping[str, Any], phase: str | None) -> Mapping[str, Any]:
    """Return why a container will not start; empty where it may, or has."""
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason") in _HOPELESS:
        return dict(waiting)
    return dict(ended) if phase == "Failed" and ended.get("reason") in _NEVER_RAN else {}
