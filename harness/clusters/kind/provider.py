"""A kind cluster, made by pytest-kind's ``KindCluster`` and taken down again."""

from __future__ import annotations

import contextlib
import enum
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import yaml

from harness.clusters.base import NodeInfo
from harness.clusters.kind.config import KindConfig
from harness.clusters.kind.kindnet import send_away
from harness.clusters.kind.network import PodWiring, commands, routes
from harness.clusters.kind.tools import Tools
from harness.clusters.kube.kubectl import Kubectl
from harness.errors import ClusterError, UsageError

MARK = "/etc/npd-kind.json"
"""On each node of ours: the configuration that it was made with."""

_LINES = 8
"""Of a failed program's last words."""


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

        A cluster of this name that a run of ours made and kept is taken as it is, and stays.
        """
        self.name = name
        self.stays = end is AtEnd.KEEP
        """Whether the cluster lives on when the context ends."""
        self._tools = tools
        self._config = config
        self._open = contextlib.ExitStack()
        self._nodes: tuple[NodeInfo, ...] = ()
        self.sent_away: tuple[str, ...] = ()
        """What was taken of kind's own CNI, where that is the network."""

    def __enter__(self) -> Self:
        """Make the cluster, and return when every node is ready; else nothing is left behind."""
        with contextlib.ExitStack() as stack, contextlib.ExitStack() as undo:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npd-kind-")))
            self.kubectl = Kubectl(self._tools.kubectl, folder / "kubeconfig")
            if self.name in self._clusters():
                self.stays = True
                self._take(folder)
            else:
                undo.callback(self._delete)
                self._make(folder)
            self._nodes = _nodes(self.kubectl)
            self._join()
            self._mark()
            made = undo.pop_all()
            self._open = stack.pop_all()
            if not self.stays:
                self._open.push(made)
        return self

    def __exit__(self, *exc: object) -> None:
        """Take it down, unless it stays."""
        self._open.close()

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes in the order of their names."""
        return self._nodes

    def wire(self, wiring: PodWiring, *, bridge_netfilter: bool = False) -> None:
        """Lay the pod network, and return when every node is ready; pods that run keep theirs."""
        for node in self._nodes:
            script = commands(node, self._nodes, wiring, bridge_netfilter=bridge_netfilter)
            self.on_node(node.name, ["sh", "-c", script])
        self._wait_ready()

    def _join(self) -> None:
        """Give pods a network, with nobody in it who enforces."""
        if not self._config.own_cni:
            self.wire(PodWiring.ROUTED)
            return
        self._wait_ready()
        for node in self._nodes:  # what its daemon has not yet come to
            self.on_node(node.name, ["sh", "-c", routes(node, self._nodes)])
        names = (node.name for node in self._nodes)
        self.sent_away = tuple(send_away(self.kubectl, names, self.on_node))

    def _wait_ready(self) -> None:
        self.kubectl.run("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=240s")

    def load(self, *images: str) -> None:
        """Bring images from docker's store to every node that has not got them."""
        self._kind("load", "docker-image", f"--name={self.name}", *images)

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        """Run a command on a node, as its root; ClusterError with its last words."""
        return _require(node, self._run(node, argv))

    def _make(self, folder: Path) -> None:
        from pytest_kind.cluster import KindCluster  # noqa: PLC0415  # optional: GPL-3

        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._config.document()))
        with contextlib.chdir(folder):  # where it keeps a folder of its own
            cluster = KindCluster(
                self.name,
                kubeconfig=self.kubectl.kubeconfig,
                image=self._tools.node_image,
                kind_path=self._tools.kind,
                kubectl_path=self._tools.kubectl,
            )
        with _errors_to(folder / "kind.log") as log:
            try:
                cluster.create(config)
            except subprocess.CalledProcessError as error:
                raise ClusterError(f"kind made no cluster {self.name}:\n{_end(log)}") from error

    def _take(self, folder: Path) -> None:
        """Take a cluster that is there; UsageError where it is not ours, or is another one."""
        self._kind("export", "kubeconfig", f"--name={self.name}",
                   f"--kubeconfig={folder / 'kubeconfig'}")  # fmt: skip
        found = self._kind("get", "nodes", f"--name={self.name}").split()
        marks = {self._run(node, ["cat", MARK]).stdout.strip() for node in found}
        if marks != {self._config.mark()}:
            raise UsageError(
                f"--name {self.name}: there is a kind cluster of this name, and it is not one that"
                " a run with these settings made and kept; take another name, or remove it: kind"
                f" delete cluster --name {self.name}"
            )

    def _mark(self) -> None:
        """Have the nodes say what they were made as."""
        for node in self._nodes:
            self.on_node(node.name, ["sh", "-c", f"echo '{self._config.mark()}' > {MARK}"])

    def _delete(self) -> None:
        kubeconfig = f"--kubeconfig={self.kubectl.kubeconfig}"
        self._kind("delete", "cluster", f"--name={self.name}", kubeconfig)

    def _clusters(self) -> list[str]:
        return self._kind("get", "clusters").split()

    def _kind(self, *arguments: str) -> str:
        """Run kind, quietly; ClusterError with its last words."""
        return _require("kind", _captured((str(self._tools.kind), *arguments)))

    def _run(self, node: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return _captured((str(self._tools.docker), "exec", "--privileged", node, *argv))


def _captured(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _require(who: str, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LINES:])
        raise ClusterError(f"{who}: {' '.join(map(str, done.args))} failed:\n{said}")
    return done.stdout


@contextlib.contextmanager
def _errors_to(log: Path) -> Iterator[Path]:
    """Send what programs that are started say on standard error to a file: kind's progress."""
    sys.stderr.flush()
    before = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield log
    finally:
        os.dup2(before, 2)
        os.close(before)


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-_LINES:])


def _nodes(kubectl: Kubectl) -> tuple[NodeInfo, ...]:
    kubectl.run("wait", "--for=jsonpath={.spec.podCIDRs}", "nodes", "--all", "--timeout=240s")
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
