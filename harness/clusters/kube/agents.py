"""A privileged agent on each node, and what runs in it: a prober, and a runner of commands.

The prober speaks over the standard input and output of one ``kubectl exec`` a node, with the same
messages as over its Unix socket on an embedded cluster; the runner over those of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Self

from harness.clusters.base import Completed, Manifest
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.placing import only_on
from harness.clusters.kube.runner import Runner, runner
from harness.clusters.kube.talks import talk
from harness.errors import ClusterError
from harness.prober.client import ProberClient

NAMESPACE = "npd-harness"
AGENT = "npd-agent"
LABELS = {"app.kubernetes.io/name": AGENT, "app.kubernetes.io/managed-by": "npd-harness"}
SANDBOXES = "/run/npd-sandboxes"
"""Inside the agent: the folder of links to the pods' network namespaces."""

PROBER = ("python3", "-m", "harness.prober.agent", "--stdio", "--netns")
"""The prober's command; the folder of namespaces comes behind it."""

FIRST = ("nice", "-n", "-20")
"""What answers comes before what asks, or a busy machine would make drops of late answers."""


def manifests(image: str, nodes: Sequence[str] = ()) -> tuple[Manifest, ...]:
    """Return the agent's namespace and DaemonSet, which may do anything on its node.

    It runs on these nodes alone, and on every Linux node where none is named.
    """
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
        **({"affinity": only_on(nodes)} if nodes else {}),
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
    """The agents of nodes, up while the context lasts."""

    def __init__(self, kubectl: Kubectl, made: Sequence[Manifest], *, removed: bool = True) -> None:
        """Prepare; nothing is created yet. ``made`` are :func:`manifests`.

        They are ``removed`` at the end, unless somebody else does that.
        """
        self._kubectl = kubectl
        self._removed = removed
        self._manifests = made
        self._open = contextlib.ExitStack()
        self._pods: dict[str, str] = {}
        self._probers: dict[str, ProberClient] = {}
        self._servers: dict[str, ProberClient] = {}
        self._runners: dict[str, Runner] = {}

    def __enter__(self) -> Self:
        """Create them, and return when prober and runner answer on every node."""
        with contextlib.ExitStack() as stack:
            if self._removed:
                stack.callback(self._kubectl.delete, self._manifests)
            self._kubectl.apply(self._manifests)
            self._kubectl.rollout(NAMESPACE, f"daemonset/{AGENT}")
            found = self._kubectl.get(
                "pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/name={AGENT}"
            )
            self._pods = {p["spec"]["nodeName"]: p["metadata"]["name"] for p in found["items"]}
            for node, pod in self._pods.items():
                into = self._kubectl.argv("-n", NAMESPACE, "exec", "-i", pod, "--")
                self._probers[node] = stack.enter_context(probing((*into, *PROBER, SANDBOXES)))
                self._servers[node] = stack.enter_context(
                    probing((*into, *FIRST, *PROBER, SANDBOXES))
                )
                self._runners[node] = stack.enter_context(runner(into))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove them, and all that was made for them."""
        self._open.close()

    def refresh(self) -> None:
        """Let the probers know the pods that run now."""
        for node in self._pods:
            self.on_node(node, ["python3", "-m", "harness.clusters.kube.sandboxes", SANDBOXES])

    def run(self, node: str, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command with every right, in a node's network and process namespaces."""
        try:
            return self._runners[node].run(argv, timeout)
        except KeyError:
            raise ClusterError(f"there is no agent on a node {node}") from None

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        """Run a command likewise, and return what it printed; ClusterError where it fails."""
        done = self.run(node, argv)
        if done.returncode:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            raise ClusterError(f"{node}: {argv[0]} failed:\n{said}")
        return done.stdout

    def prober(self, node: str) -> ProberClient:
        """Return the way to a node's prober; its namespaces are pods' UIDs and ``node``."""
        return self._probers[node]

    def server(self, node: str) -> ProberClient:
        """Return the way to a node's other prober, which is there for echo servers.

        One that asks hundreds of questions at once would leave those of other nodes unanswered.
        """
        return self._servers[node]


@contextlib.contextmanager
def probing(argv: Sequence[str]) -> Iterator[ProberClient]:
    """Start a prober by a command that leads to where it is to be."""
    with talk(argv) as way, ProberClient(way) as prober:
        yield prober
