"""A privileged agent on each node, and the prober that runs in it.

The prober speaks over the standard input and output of one ``kubectl exec`` a node, with the same
messages as over its Unix socket on an embedded cluster.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import Self

from harness.clusters.base import Manifest, Outcome
from harness.clusters.kube.kubectl import Kubectl
from harness.prober.client import ProberClient
from harness.prober.protocol import Attempt

NAMESPACE = "npd-harness"
AGENT = "npd-agent"
LABELS = {"app.kubernetes.io/name": AGENT, "app.kubernetes.io/managed-by": "npd-harness"}
SANDBOXES = "/run/npd-sandboxes"
"""Inside the agent: the folder of links to the pods' network namespaces."""

_GRACE_SECONDS = 5.0


def manifests(image: str) -> tuple[Manifest, ...]:
    """Return the agent's namespace and DaemonSet, which may do anything on its node."""
    container = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/sleep", "infinity"],
        "securityContext": {"privileged": True},
    }
    pod = {
        "hostPID": True,
        "hostNetwork": True,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [container],
    }
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {**LABELS, "pod-security.kubernetes.io/enforce": "privileged"},
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": AGENT, "namespace": NAMESPACE, "labels": LABELS},
            "spec": {
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": pod},
            },
        },
    )


class Agents:
    """The agents of all nodes, up while the context lasts."""

    def __init__(self, kubectl: Kubectl, image: str) -> None:
        """Prepare; nothing is created yet. ``image`` is the harness's workload image."""
        self._kubectl = kubectl
        self._manifests = manifests(image)
        self._open = contextlib.ExitStack()
        self._pods: dict[str, str] = {}
        self._probers: dict[str, ProberClient] = {}

    def __enter__(self) -> Self:
        """Create them, and return when the prober answers on every node."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._kubectl.delete, self._manifests)
            self._kubectl.apply(self._manifests)
            self._kubectl.rollout(NAMESPACE, f"daemonset/{AGENT}")
            found = self._kubectl.get(
                "pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={AGENT}"
            )
            self._pods = {p["spec"]["nodeName"]: p["metadata"]["name"] for p in found["items"]}
            for node, pod in self._pods.items():
                self._probers[node] = stack.enter_context(self._prober(pod))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove them, and all that was made for them."""
        self._open.close()

    def refresh(self) -> None:
        """Let the probers know the pods that run now."""
        for node in self._pods:
            self.on_node(node, ["python3", "-m", "harness.clusters.kube.sandboxes", SANDBOXES])

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        """Run a command with every right, in a node's network and process namespaces."""
        return self._kubectl.exec(NAMESPACE, self._pods[node], argv)

    def prober(self, node: str) -> ProberClient:
        """Return the way to a node's prober; its namespaces are pods' UIDs and ``node``."""
        return self._probers[node]

    def probe(self, node: str, attempts: Sequence[Attempt], timeout: float) -> list[Outcome]:
        """Try connections from pods of one node, all at once."""
        return self._probers[node].probe(attempts, timeout)

    @contextlib.contextmanager
    def _prober(self, pod: str) -> Iterator[ProberClient]:
        run = ("python3", "-m", "harness.prober.agent", "--stdio", "--netns", SANDBOXES)
        argv = self._kubectl.argv("-n", NAMESPACE, "exec", "-i", pod, "--", *run)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL
            )
        try:
            with ProberClient(ours) as prober:
                yield prober
        finally:
            process.terminate()
            process.wait(_GRACE_SECONDS)
