"""Clusters with a real control plane, and kubectl as a person uses it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Proxy, Shape
from harness.controlplane.programs import Programs, find

SECONDS = 90.0
"""Upper bound of everything that is waited for."""

Shaped = Callable[..., Shape]


@pytest.fixture(scope="session")
def shaped() -> Shaped:
    """Describe a cluster with the real control plane."""

    def make(
        name: str,
        nodes: int = 2,
        proxy: Proxy = Proxy.NFTABLES,
        ip_family: IpFamily = IpFamily.IPV4,
    ) -> Shape:
        found = find()
        assert isinstance(found, Programs)
        return Shape(
            f"t{os.getpid()}-{name}",
            nodes,
            proxy=proxy,
            ip_family=ip_family,
            programs=found.paths,
            kubernetes=found.version,
            pod_logs=True,
        )

    return make


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, shaped: Shaped) -> Iterator[EmbeddedCluster]:
    """Yield a cluster of two nodes for the tests of one module."""
    name = request.node.name.rpartition("/")[2].removesuffix(".py").replace("_", "-")
    with EmbeddedCluster(shaped(name)) as made:
        yield made


class Kubectl:
    """kubectl, with the cluster's administrator's kubeconfig unless told otherwise."""

    def __init__(self, cluster: EmbeddedCluster, cache: Path) -> None:
        """Keep its cache in a folder of the test's."""
        self._kubeconfig = cluster.kubeconfig
        self._cache = cache

    def argv(self, *words: str, kubeconfig: Path | None = None) -> list[str]:
        """Return the command line."""
        chosen = kubeconfig or self._kubeconfig
        return ["kubectl", f"--kubeconfig={chosen}", f"--cache-dir={self._cache}", *words]

    def __call__(self, *words: str, stdin: str = "") -> str:
        """Run it, see it succeed, and return what it prints."""
        done = self.attempt(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it, however it ends."""
        argv = self.argv(*words)
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def json(self, *words: str) -> Any:
        """Run it and return the objects."""
        return json.loads(self(*words, "-o", "json"))


@pytest.fixture
def kubectl(cluster: EmbeddedCluster, tmp_path: Path) -> Kubectl:
    """Return kubectl for the module's cluster."""
    return Kubectl(cluster, tmp_path)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait until something is true and return it; what it was at last fails the test."""

    def wait(true: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (value := true()):
            assert time.monotonic() < deadline, f"still {value!r} after {SECONDS} s"
            time.sleep(0.1)
        return value

    return wait
