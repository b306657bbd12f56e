"""The daemons of an enforcer that is deployed: the pods of a DaemonSet on a real cluster.

What a process of ours would be told, these are told by the agent of their node: SIGSTOP, SIGCONT,
and how much CPU time they have used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster, Manifest, NodeRef
from harness.clusters.kube.cluster import KubeCluster
from harness.clusters.kube.kubectl import selecting
from harness.clusters.kube.members import MODULE
from harness.enforcers.base import Usage
from harness.enforcers.daemons import LOG_LINES
from harness.errors import EnforcerFailed

_POLL_SECONDS = 0.1
_START_SECONDS = 120.0
_USER, _SYSTEM = 13, 14
"""Of /proc/PID/stat, counted from 0 (proc_pid_stat(5))."""


class DaemonPods:
    """Implements :class:`~harness.enforcers.daemons.Fleet` on the pods of one DaemonSet."""

    def __init__(
        self, cluster: KubeCluster, logs: Path, manifests: Sequence[Manifest], nodes: Sequence[str]
    ) -> None:
        """Prepare; nothing is applied yet. ``nodes`` are those that the DaemonSet runs on."""
        self.cluster: Cluster = cluster
        self.kubectl = cluster.kubectl
        self.logs = logs
        self.nodes = tuple(nodes)
        self._manifests = manifests
        (self._daemons,) = (one for one in manifests if one["kind"] == "DaemonSet")
        self._pods: dict[str, Mapping[str, Any]] = {}
        self._processes: dict[str, tuple[int, ...]] = {}
        self._paused = False
        self._spent = 0.0

    @property
    def _name(self) -> str:
        return str(self._daemons["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where its pods are."""
        return str(self._daemons["metadata"]["namespace"])

    def pod(self, node: str) -> str:
        """Return the name of a node's pod."""
        return str(self._pods[node]["metadata"]["name"])

    def log(self, node: str) -> Path:
        """Return the file that :meth:`stop` writes a node's log to."""
        return self.logs / f"{self._name}-{node}.log"

    def start(self) -> None:
        """Apply the manifests, and return when a pod runs on each node."""
        self.cluster.apply(self._manifests)
        deadline = time.monotonic() + _START_SECONDS
        while set(self.nodes) - self._look().keys():
            if time.monotonic() > deadline:
                raise EnforcerFailed(f"{self._name}: not on every node; {self._why()}")
            time.sleep(_POLL_SECONDS)
        self._paused = False

    def stop(self) -> None:
        """Delete the DaemonSet, and return when its pods are gone; rights and account stay."""
        if not self._pods:
            return
        self.resume()
        self._spent += self._used()
        self._keep_logs()
        self.cluster.delete([self._daemons])
        self.kubectl.wait_gone(*self._selected(), seconds=60)
        self._pods, self._processes = {}, {}

    def kill(self) -> None:
        """Kill every daemon at once; the kubelet is not left the time to start it again."""
        self._tell("KILL")
        self.stop()

    def withdraw(self) -> None:
        """Delete everything that :meth:`start` applied."""
        self.cluster.delete(self._manifests)

    def pause(self) -> None:
        """Stop them in their tracks: they keep what they hold, and do nothing."""
        if not self._paused:
            self._tell("STOP")
            self._paused = True

    def resume(self) -> None:
        """Let paused daemons go on."""
        if self._paused:
            self._tell("CONT")
            self._paused = False

    def cpu_seconds(self) -> float:
        """Return the CPU time of all daemons so far, ended ones included."""
        return self._spent + self._used()

    def usage(self) -> dict[str, Usage]:
        """Return what each node's daemon takes, since it was last started."""
        return {node: Usage(self._used_on(node), self._resident_on(node)) for node in self._pods}

    def require_running(self, node: str) -> None:
        """Raise :class:`~harness.errors.EnforcerFailed` where a node's daemon has ended."""
        found = self._look().get(node)
        if found is None or _restarts(found):
            raise EnforcerFailed(self.complaint(node, "ended by itself"))

    def complaint(self, node: str, what: str) -> str:
        """Say what is wrong with a node's daemon, with the last lines of its log."""
        tail = "\n".join(self._said(node).splitlines()[-LOG_LINES:])
        return f"{self._name} on node {node} {what}; the end of its log:\n{tail or '(it is empty)'}"

    def _selected(self) -> tuple[str, ...]:
        """Return the words that make kubectl speak of its pods."""
        return selecting(self.namespace, self._daemons["spec"]["selector"]["matchLabels"])

    def _items(self) -> Sequence[Mapping[str, Any]]:
        found = self.kubectl.get("pods", *self._selected())
        items: Sequence[Mapping[str, Any]] = found["items"]
        return items

    def _look(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the pods that run now, by node, and remember them."""
        self._pods = {
            pod["spec"]["nodeName"]: pod
            for pod in self._items()
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        }
        return self._pods

    def _why(self) -> str:
        return "; ".join(
            f"{pod['spec'].get('nodeName')}: {pod['status'].get('phase')}"
            f" {pod['status'].get('containerStatuses', '')}"
            for pod in self._items()
        )

    def _members(self, node: str) -> tuple[int, ...]:
        if node not in self._processes:
            uid = self._pods[node]["metadata"]["uid"]
            said = self._on(node, "python3", "-m", MODULE, uid)
            self._processes[node] = tuple(map(int, said.split()))
        return self._processes[node]

    def _tell(self, signal: str) -> None:
        for node in self._pods:
            numbers = " ".join(map(str, self._members(node)))
            self._on(node, "sh", "-c", f"kill -{signal} {numbers}")

    def _used(self) -> float:
        """Return the CPU time of the pods that run now, user and system, in seconds."""
        return sum(self._used_on(node) for node in self._pods)

    def _used_on(self, node: str) -> float:
        rows = (line.rpartition(")")[2].split() for line in self._proc(node, "stat"))
        ticks = sum(int(row[_USER - 2]) + int(row[_SYSTEM - 2]) for row in rows)
        return ticks / os.sysconf("SC_CLK_TCK")

    def _resident_on(self, node: str) -> int:
        pages = sum(int(line.split()[1]) for line in self._proc(node, "statm"))
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _proc(self, node: str, name: str) -> list[str]:
        """Return the line that each process of a node's pod has in a file of /proc/PID."""
        files = (f"/proc/{number}/{name}" for number in self._members(node))
        return self.cluster.exec(NodeRef(node), ("cat", *files)).stdout.splitlines()

    def _on(self, node: str, *argv: str) -> str:
        done = self.cluster.exec(NodeRef(node), argv)
        if done.returncode:
            raise EnforcerFailed(f"{node}: {' '.join(argv)} failed: {done.stderr.strip()}")
        return done.stdout

    def _said(self, node: str) -> str:
        if node not in self._pods:
            return ""
        words = ("-n", self.namespace, "logs", self.pod(node))
        runs = (self.kubectl.attempt(*words, *extra) for extra in (("--previous",), ()))
        return "".join(done.stdout for done in runs if done.returncode == 0)

    def _keep_logs(self) -> None:
        for node in self._pods:
            with self.log(node).open("a", encoding="utf-8") as file:
                file.write(self._said(node))


def _restarts(pod: Mapping[str, Any]) -> int:
    return sum(int(one["restartCount"]) for one in pod["status"].get("containerStatuses") or ())
