"""Waiting for pods that are Ready, and for Services that reach them from every node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.clusters.base import Manifest, Tell
from harness.clusters.kube import proxies
from harness.clusters.kube.agents import Agents
from harness.clusters.kube.diagnosis import described
from harness.clusters.kube.proxies import Proxying, out_of_step
from harness.clusters.kube.whereabouts import is_over, problems
from harness.clusters.objects import Objects
from harness.clusters.pods import is_ready
from harness.errors import ClusterError
from harness.words import listed

_POLL_SECONDS = 0.2
_QUIET_SECONDS = 0.4
"""How long kube-proxies have to be idle: a change reaches them a moment after it reaches us."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What there is to ask: the API server, and the kube-proxy of each node by its agent."""

    objects: Objects
    agents: Agents
    nodes: tuple[str, ...]
    tell: Tell

    def wait(self, namespace: str | None, timeout: float) -> list[Manifest]:
        """Return the pods (of a namespace), once all are Ready and their Services reach them.

        Pods that have finished are not waited for. ClusterError after ``timeout`` seconds, and at
        once where a pod can never start.
        """
        deadline = time.monotonic() + timeout
        pods = self._ready_pods(namespace, deadline)
        self._wait_services(namespace, deadline)
        return pods

    def _ready_pods(self, namespace: str | None, deadline: float) -> list[Manifest]:
        while True:
            pods = self._list("pods", namespace)
            live = [pod for pod in pods if not is_over(pod)]
            ready = [pod for pod in live if is_ready(pod)]
            self.tell("pods ready", len(ready), len(live))
            _require_hope(pods)
            if len(ready) == len(live):
                return live
            if time.monotonic() > deadline:
                raise ClusterError(_why_not_ready(live, len(ready)))
            time.sleep(_POLL_SECONDS)

    def _wait_services(self, namespace: str | None, deadline: float) -> None:
        """Return once slices say what Services and pods say, and kube-proxies have followed."""
        if not self._list("services", namespace):
            return
        idle_since: float | None = None
        while True:
            now = time.monotonic()
            behind = self._out_of_step(namespace) or self._busy_proxies()
            if behind:
                idle_since = None
            elif idle_since is None:
                idle_since = now
            elif now - idle_since >= _QUIET_SECONDS:
                return
            if behind and now > deadline:
                raise ClusterError(f"Services did not reach their pods in time: {behind}")
            time.sleep(_POLL_SECONDS)

    def _out_of_step(self, namespace: str | None) -> str:
        """Say whose EndpointSlices do not name the pods that are ready, or nothing."""
        services, pods = self._list("services", namespace), self._list("pods", namespace)
        slices = self._list("endpointslices", namespace, "/apis/discovery.k8s.io/v1")
        late = list(out_of_step(services, pods, slices))
        return f"EndpointSlices do not name the ready pods of {listed(late)}" if late else ""

    def _busy_proxies(self) -> str:
        """Say whose kube-proxy has not done what there is to do, or nothing."""
        command = ("python3", "-m", proxies.MODULE)
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            said = threads.map(lambda node: self.agents.run(node, command).stdout, self.nodes)
            busy = [
                node
                for node, one in zip(self.nodes, said, strict=True)
                if one == Proxying.BUSY.value
            ]
        return f"kube-proxy has not followed on {listed(busy)}" if busy else ""

    def _list(self, plural: str, namespace: str | None, group: str = "/api/v1") -> list[Manifest]:
        scope = "" if namespace is None else f"/namespaces/{namespace}"
        items: list[Manifest] = self.objects.get(f"{group}{scope}/{plural}")["items"]
        return items


def _require_hope(pods: Sequence[Manifest]) -> None:
    found = list(problems(pods))
    if found:
        raise ClusterError(f"pods cannot start: {listed(found, '; ')}")


def _why_not_ready(live: Sequence[Manifest], ready: int) -> str:
    waiting = [pod["metadata"]["name"] for pod in live if not is_ready(pod)]
    first = next(pod for pod in live if not is_ready(pod))
    said = f"{ready} of {len(live)} pods are Ready in time; not {listed(waiting)}"
    return "\n  ".join((said, *described(first)))
