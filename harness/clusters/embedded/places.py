"""Where a program can be started: a named network namespace, on nodes with a ``/sys`` of its own.

``/sys/class/net`` shows the network namespace in which sysfs was *mounted*, and programs on nodes
read it. ``ip netns exec`` would copy the mount namespace with every pod's mount in it, for each
program; so each node has a small mount namespace, made before there are pods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from harness.clusters.embedded.addresses import NodePlan, namespace_of_node
from harness.clusters.embedded.namespaces import (
    CLONE_FS,
    CLONE_NEWNS,
    MS_BIND,
    MS_REC,
    enter_network,
    mount,
    setns,
    unshare,
)


class Places:
    """The mount namespaces of nodes, held open as descriptors."""

    def __init__(self, folder: Path) -> None:
        """Start without any node; ``folder`` is the cluster's, which all nodes see."""
        self._folder = folder
        self._mounts: dict[str, int] = {}

    def prepare(self, nodes: Sequence[NodePlan]) -> None:
        """Make the mount namespace of each node."""
        for node in nodes:
            name = namespace_of_node(node.name)
            thread = threading.Thread(target=self._prepare, args=(name,))
            thread.start()
            thread.join()
            if name not in self._mounts:
                message = f"cannot make the mount namespace of {node.name}"
                raise OSError(message)

    def _prepare(self, netns: str) -> None:
        enter_network(netns)
        unshare(CLONE_NEWNS)
        mount("sysfs", Path("/sys"), "sysfs")
        self._own_run_folder()
        self._mounts[netns] = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)

    def _own_run_folder(self) -> None:
        """Give the node a folder of its own where daemons keep state, the cluster's in it."""
        parent = self._folder.parent
        descriptor = os.open(self._folder, os.O_PATH)
        try:
            mount("tmpfs", parent, "tmpfs")
            self._folder.mkdir()
            mount(f"/proc/thread-self/fd/{descriptor}", self._folder, "", MS_BIND | MS_REC)
        finally:
            os.close(descriptor)

    def enter(self, netns: str) -> None:
        """Move the calling thread, for good, to a place; programs that it starts run there."""
        unshare(CLONE_FS)
        try:
            enter_network(netns)
        except FileNotFoundError:
            message = f"there is no network namespace {netns!r} in this cluster"
            raise FileNotFoundError(message) from None
        if netns in self._mounts:
            setns(self._mounts[netns], CLONE_NEWNS)
