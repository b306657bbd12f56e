"""A kind cluster, made by pytest-kind's ``KindCluster`` and taken down again."""

from __future__ import annotations

import contextlib
import enum
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import yaml

from harness.clusters.base import NodeInfo
from harness.clusters.kind.config import KindConfig
from harness.clusters.kind.network import PodWiring, commands
from harness.clusters.kind.tools import Tools
from harness.clusters.kube.kubectl import Kubectl
from harness.errors import ClusterError


class AtEnd(enum.Enum):
    """What becomes of a cluster at the end."""

    DELETE = "delete"
    KEEP = "keep"


class KindNodes:
    """A cluster of kind with a pod network of ours; up while the context lasts."""

    def __init__(
        self, name: str, tools: Tools, config: KindConfig, end: AtEnd = AtEnd.DELETE
    ) -> None:
        """Prepare; nothing is made before the context is entered.

        A cluster of this name that is there already is taken as it is.
        """
        self.name = name
        self._tools = tools
        self._config = config
        self._end = end
        self._open = contextlib.ExitStack()
        self._nodes: tuple[NodeInfo, ...] = ()

    def __enter__(self) -> Self:
        """Make the cluster, and return when every node is ready; else nothing is left behind."""
        from pytest_kind.cluster import KindCluster  # noqa: PLC0415  # optional: GPL-3

        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npd-kind-")))
            config = folder / "config.yaml"
            config.write_text(yaml.safe_dump(self._config.document()))
            self._cluster = KindCluster(
                self.name,
                kubeconfig=folder / "kubeconfig",
                image=self._tools.node_image,
                kind_path=self._tools.kind,
                kubectl_path=self._tools.kubectl,
            )
            self.kubectl = Kubectl(self._tools.kubectl, folder / "kubeconfig")
            if self._end is AtEnd.DELETE:
                stack.callback(self._cluster.delete)
            self._create(config)
            self._nodes = _nodes(self.kubectl)
            self.wire(PodWiring.ROUTED)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        """Take it down."""
        self._open.close()

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes in the order of their names."""
        return self._nodes

    def wire(self, wiring: PodWiring) -> None:
        """Lay the pod network, and return when every node is ready; pods that run keep theirs."""
        for node in self._nodes:
            self.on_node(node.name, ["sh", "-c", commands(node, self._nodes, wiring)])
        self.kubectl.run("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")

    def load(self, *images: str) -> None:
        """Bring images from docker's store to every node."""
        for image in images:
            self._cluster.load_docker_image(image)

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        """Run a command on a node, as its root; ClusterError with its last words."""
        done = subprocess.run(
            [self._tools.docker, "exec", "--privileged", node, *argv],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            raise ClusterError(f"{node}: {argv[0]} failed:\n{said}")
        return done.stdout

    def _create(self, config: Path) -> None:
        try:
            if self._end is AtEnd.KEEP:  # perhaps it is there already; then nothing writes this
                self._export()
            self._cluster.create(config)
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"kind made no cluster {self.name} (its words are above)") from error

    def _export(self) -> None:
        """Write the kubeconfig of a cluster that is there; where there is none, nothing."""
        path = f"--kubeconfig={self.kubectl.kubeconfig}"
        command = [str(self._tools.kind), "export", "kubeconfig", f"--name={self.name}", path]
        subprocess.run(command, capture_output=True, check=False)


def _nodes(kubectl: Kubectl) -> tuple[NodeInfo, ...]:
    kubectl.run("wait", "--for=jsonpath={.spec.podCIDRs}", "nodes", "--all", "--timeout=60s")
    found = []
    for item in kubectl.get("nodes")["items"]:
        addresses = tuple(
            entry["address"]
            for entry in item["status"]["addresses"]
            if entry["type"] == "InternalIP"
        )
        cidrs = tuple(item["spec"]["podCIDRs"])
        found.append(NodeInfo(item["metadata"]["name"], addresses[0], cidrs, addresses))
    return tuple(sorted(found, key=lambda node: node.name))
