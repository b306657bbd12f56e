"""Clusters and manifests that the tests of the embedded cluster share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import Place, PodRef
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Cni, Shape

Manifest = dict[str, Any]
WIRINGS = {
    "routed": (Cni.ROUTED, False),
    "bridged": (Cni.BRIDGED, False),
    "bridged-netfilter": (Cni.BRIDGED, True),
}


class Kit:
    """What a test says in one line."""

    @staticmethod
    def pod(name: str, node: str = "", **more: Any) -> Manifest:
        """Return a pod with nginx; ``labels``, ``containers`` and parts of the spec may differ."""
        labels = more.pop("labels", {"app": name})
        containers = more.pop("containers", [{"name": "main", "image": "nginx"}])
        spec = {"containers": containers} | more
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": spec | ({"nodeName": node} if node else {}),
        }

    @staticmethod
    def service(name: str, selector: dict[str, str], **more: Any) -> Manifest:
        """Return a Service on port 80; ``ports`` and parts of the spec may differ."""
        ports = more.pop("ports", [{"port": 80}])
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": selector, "ports": ports} | more,
        }

    @staticmethod
    def live(cluster: EmbeddedCluster, kind: str, name: str) -> Manifest:
        """Return an object as the API has it."""
        found: Manifest = cluster.objects.get(f"/api/v1/namespaces/default/{kind}/{name}")
        return found

    @classmethod
    def address(cls, cluster: EmbeddedCluster, pod: str) -> str:
        """Return a pod's address."""
        return str(cls.live(cluster, "pods", pod)["status"]["podIP"])

    @staticmethod
    def fetch(cluster: EmbeddedCluster, place: Place | str, url: str, *flags: str) -> str:
        """Return what curl prints in a place: ``<server> to <client>``; "" when it fails."""
        where = PodRef("default", place) if isinstance(place, str) else place
        argv = ("curl", "-s", "--max-time", "5", *flags, url)
        return cluster.exec(where, argv).stdout.strip()

    @staticmethod
    def until(true: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Wait until something is true and return it; what it was at last fails the test."""
        deadline = time.monotonic() + seconds
        while not (value := true()):
            assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
            time.sleep(0.02)
        return value

    @staticmethod
    def processes_of(cluster: str) -> list[str]:
        """Return the command lines of every process that names a cluster."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if any(f"/run/npd/{cluster}" in word for word in words):
                found.append(" ".join(words))
        return found


@pytest.fixture(scope="session")
def kit() -> Kit:
    """Return the short forms."""
    return Kit()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a cluster name of this test's own."""
    return f"t{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**8}"


@pytest.fixture(scope="module", params=list(WIRINGS))
def cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """Yield a cluster of two nodes, for each way of connecting pods."""
    cni, bridge_netfilter = WIRINGS[request.param]
    shape = Shape(f"t{os.getpid()}-{request.param}", 2, cni, bridge_netfilter)
    with EmbeddedCluster(shape) as made:
        yield made
