"""Liveness and startup probes: what is restarted, what waits, and what kubectl shows of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import NodeRef, PodRef
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Shape

pytestmark = pytest.mark.cluster

OFTEN = {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}
STOP_NGINX = """
own=$(readlink /proc/self/ns/net)
for process in /proc/[0-9]*; do
    [ "$(cat $process/comm)" = nginx ] && [ "$(readlink $process/ns/net)" = "$own" ] || continue
    kill -STOP "${process#/proc/}"
done
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    """Yield a cluster of one node."""
    with EmbeddedCluster(Shape(f"t{os.getpid()}-health", 1)) as made:
        yield made


@pytest.fixture
def switch(tmp_path: Path) -> Path:
    """Return a file that a probe asks for; it is there."""
    path = tmp_path / "well"
    path.touch()
    return path


def asking(file: Path) -> dict[str, Any]:
    """Return a probe that succeeds while a file is there."""
    return {"exec": {"command": ["test", "-e", str(file)]}} | OFTEN


def nginx(kit: Any, name: str, **probes: Any) -> dict[str, Any]:
    """Return a pod of one nginx with probes."""
    pod: dict[str, Any] = kit.pod(name, containers=[{"name": "m", "image": "nginx"} | probes])
    return pod


def container(cluster: EmbeddedCluster, kit: Any, name: str) -> dict[str, Any]:
    """Return what the pod's status says of its container; nothing while it has none."""
    status: dict[str, Any] = kit.live(cluster, "pods", name).get("status", {})
    return next(iter(status.get("containerStatuses", ())), {})


def serves(cluster: EmbeddedCluster, kit: Any, name: str) -> bool:
    """Whether a pod's nginx answers."""
    answer: str = kit.fetch(cluster, NodeRef("node-1"), kit.address(cluster, name))
    return answer.startswith(f"{name} to ")


def test_liveness_restarts_a_container(cluster: EmbeddedCluster, kit: Any, switch: Path) -> None:
    """A container whose liveness probe fails is ended and started again, and that is counted."""
    cluster.apply([nginx(kit, "live", livenessProbe=asking(switch))])
    cluster.wait_ready(timeout=180)
    assert container(cluster, kit, "live")["restartCount"] == 0

    switch.unlink()
    kit.until(lambda: container(cluster, kit, "live")["restartCount"] > 0)
    switch.touch()

    seen = kit.until(lambda: (c := container(cluster, kit, "live"))["ready"] and c)
    assert seen["lastState"]["terminated"]["exitCode"] == 0  # nginx ends well on SIGTERM
    cluster.wait_ready(timeout=180)
    assert serves(cluster, kit, "live")


def test_a_container_that_hangs_is_killed(cluster: EmbeddedCluster, kit: Any) -> None:
    """A server that neither answers its liveness probe nor ends on SIGTERM is killed."""
    probe = {"httpGet": {"port": 80}} | OFTEN | {"timeoutSeconds": 1, "failureThreshold": 2}
    cluster.apply([nginx(kit, "hung", livenessProbe=probe | {"terminationGracePeriodSeconds": 1})])
    cluster.wait_ready(timeout=180)
    assert container(cluster, kit, "hung")["restartCount"] == 0

    cluster.exec(PodRef("default", "hung"), ("sh", "-c", STOP_NGINX))

    seen = kit.until(lambda: (c := container(cluster, kit, "hung"))["restartCount"] and c)
    assert seen["lastState"]["terminated"]["exitCode"] == 128 + signal.SIGKILL
    kit.until(lambda: serves(cluster, kit, "hung"))


def test_startup_gates_the_other_probes(
    cluster: EmbeddedCluster, kit: Any, switch: Path, tmp_path: Path
) -> None:
    """Until the startup probe succeeds nobody asks for life or readiness, and it is not ready."""
    began = tmp_path / "began"
    startup = asking(began) | {"failureThreshold": 10_000}
    missing = asking(tmp_path / "never")
    cluster.apply(
        [
            nginx(kit, "slow", startupProbe=startup, readinessProbe=asking(switch)),
            nginx(kit, "gated", startupProbe=startup, livenessProbe=missing),
        ]
    )
    for name in ("slow", "gated"):
        kit.until(lambda name=name: container(cluster, kit, name))
        assert kit.until(lambda name=name: serves(cluster, kit, name))
        seen = container(cluster, kit, name)
        assert (seen["started"], seen["ready"], seen["restartCount"]) == (False, False, 0)

    began.touch()

    kit.until(lambda: container(cluster, kit, "slow")["ready"])
    assert container(cluster, kit, "slow")["started"]
    kit.until(lambda: container(cluster, kit, "gated")["restartCount"] > 0)
    cluster.delete([nginx(kit, "gated")])


def test_a_container_that_does_not_start_is_restarted(
    cluster: EmbeddedCluster, kit: Any, tmp_path: Path
) -> None:
    """A startup probe that fails as often as its threshold says has the container restarted."""
    cluster.apply([nginx(kit, "never", startupProbe=asking(tmp_path / "never"))])

    seen = kit.until(lambda: (c := container(cluster, kit, "never")).get("restartCount") and c)

    assert not seen["ready"]
    assert not seen["started"]
    cluster.delete([nginx(kit, "never")])


def test_without_restarts_a_container_that_fails_ends(
    cluster: EmbeddedCluster, kit: Any, tmp_path: Path
) -> None:
    """With ``restartPolicy: Never`` a failed liveness probe ends the container for good."""
    pod = nginx(kit, "once", livenessProbe=asking(tmp_path / "never"))
    pod["spec"]["restartPolicy"] = "Never"
    cluster.apply([pod])

    kit.until(lambda: kit.live(cluster, "pods", "once")["status"].get("phase") == "Succeeded")

    assert container(cluster, kit, "once")["restartCount"] == 0
    cluster.delete([pod])


@pytest.mark.optional("kubectl")
def test_kubectl_shows_restarts(cluster: EmbeddedCluster, kit: Any, switch: Path) -> None:
    """``kubectl get pods`` counts the restarts of a pod."""
    cluster.apply([nginx(kit, "shown", livenessProbe=asking(switch))])
    cluster.wait_ready(timeout=180)
    switch.unlink()
    kit.until(lambda: container(cluster, kit, "shown")["restartCount"] > 0)
    switch.touch()
    cluster.wait_ready(timeout=180)
    count = container(cluster, kit, "shown")["restartCount"]

    argv = ("kubectl", "--kubeconfig", cluster.kubeconfig, "get", "pod", "shown", "--no-headers")
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert said.split()[:2] == ["shown", "1/1"]
    assert said.split()[3] == str(count)
