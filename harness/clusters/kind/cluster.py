"""A kind cluster as the rest of the harness sees it (``harness.clusters.base.Cluster``)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from harness.clusters.base import Tell
from harness.clusters.kind.config import KindShape
from harness.clusters.kind.outside import outside
from harness.clusters.kind.provider import AtEnd, KindNodes
from harness.clusters.kind.tools import Tools
from harness.clusters.kube.cluster import KubeCluster, Reached
from harness.images.chosen import Images

_WHAT = "a kind cluster"


class KindCluster(KubeCluster):
    """Nodes of kind with a pod network of ours, and a host outside; up while the context lasts.

    A cluster of its name that a run of ours made and kept is taken, and stays.
    """

    kind = "kind"

    def __init__(
        self, name: str, tools: Tools, shape: KindShape, images: Images, tell: Tell
    ) -> None:
        """Prepare; nothing is made yet."""
        super().__init__(name, images, tell)
        self._tools = tools
        self._shape = shape
        self._settings: Mapping[str, Any] = {}

    def _reach(self, stack: contextlib.ExitStack) -> Reached:
        self._tell(_WHAT, 0, 1)
        nodes = KindNodes(self.name, self._tools, self._shape.config, AtEnd.DELETE)
        stack.enter_context(nodes)
        if not self._shape.config.own_cni:
            nodes.wire(self._shape.wiring, bridge_netfilter=self._shape.bridge_netfilter)
        self._tell(_WHAT, 1, 1)
        wanted = self.images.all()
        self._tell("images on nodes", 0, len(wanted))
        nodes.load(*wanted)
        host = stack.enter_context(
            outside(self.name, self._tools, self.images.workload, nodes.nodes(), nodes.on_node)
        )
        self._settings = self._describe(nodes)
        return Reached(nodes.kubectl, nodes.nodes(), host, stays=nodes.stays)

    def _describe(self, nodes: KindNodes) -> Mapping[str, Any]:
        version = nodes.kubectl.get("nodes")["items"][0]["status"]["nodeInfo"]["kubeletVersion"]
        images = {image: self._tools.image_id(image) for image in self.images.all()}
        return {
            "cluster": self.kind,
            "name": self.name,
            "control_plane": "real",
            "kubernetes": version,
            **self._shape.describe(),
            **({"taken away": list(nodes.sent_away)} if nodes.sent_away else {}),
            "versions": {**self._tools.versions(), **images},
        }

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that make this cluster what it is, with all versions."""
        return self._settings
