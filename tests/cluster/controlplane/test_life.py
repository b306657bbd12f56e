"""The control plane's programs come and go with the cluster, and never in silence."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.embedded import state
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.controlplane.programs import KUBE_PROGRAMS
from harness.errors import ClusterError

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane")]

PROGRAMS = ("etcd", *KUBE_PROGRAMS)


def processes(cluster: str) -> dict[str, int]:
    """Return the control plane's processes of a cluster: name to pid, as the host sees them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = Path(words[0]).name
        if name in PROGRAMS and any(f"/run/npd/{cluster}/" in word for word in words):
            found[name] = int(path.parent.name)
    return found


def test_nothing_is_left(shaped: Any, tmp_path: Path) -> None:
    """All programs run while the cluster is up and none afterwards; the logs are kept."""
    cluster = EmbeddedCluster(shaped("life", nodes=1))
    cluster.logs_to = tmp_path / "logs"
    with cluster:
        assert set(processes(cluster.name)) == set(PROGRAMS)

    assert processes(cluster.name) == {}
    assert not cluster.folder.path.exists()
    kept = {path.stem for path in (tmp_path / "logs").glob("*.log")}
    assert kept >= {*PROGRAMS, "agent", "supervisor"}


def test_nothing_is_left_by_kill_9(shaped: Any, until: Any) -> None:
    """Who kills the supervisor kills the whole control plane; its folder is the next one's."""
    cluster = EmbeddedCluster(shaped("kill", nodes=1))
    cluster.__enter__()
    os.kill(int(cluster.folder.facts()["pid"]), signal.SIGKILL)

    until(lambda: processes(cluster.name) == {})
    cluster.__exit__(None, None, None)
    assert cluster.name not in {folder.name for folder in state.running()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_crash_is_reported(shaped: Any, until: Any, tmp_path: Path, program: str) -> None:
    """It names the program, its exit and its log's last lines; the logs are kept."""
    cluster = EmbeddedCluster(shaped(f"crash-{program}", nodes=1))
    cluster.logs_to = tmp_path
    cluster.__enter__()
    os.kill(processes(cluster.name)[program], signal.SIGABRT)
    until(lambda: processes(cluster.name) == {})
    with pytest.raises(ClusterError) as raised:
        cluster.__exit__(None, None, None)

    assert f"{program} ended with exit code" in str(raised.value)
    assert len(str(raised.value).splitlines()) > 3
    assert (tmp_path / f"{program}.log").exists()
    assert not cluster.folder.path.exists()


def test_the_cause_is_named_first(shaped: Any, until: Any) -> None:
    """Of programs that end together, what the others need comes first, whoever was seen first."""
    cluster = EmbeddedCluster(shaped("cause", nodes=1))
    cluster.__enter__()
    running = processes(cluster.name)
    for program in ("kube-scheduler", "kube-controller-manager", "kube-apiserver"):
        os.kill(running[program], signal.SIGKILL)
    until(lambda: processes(cluster.name) == {})
    with pytest.raises(ClusterError) as raised:
        cluster.__exit__(None, None, None)

    ends = [line for line in str(raised.value).splitlines() if "ended with exit code -9" in line]
    assert "kube-apiserver" in ends[0]
    assert len(ends) == 3


def test_who_asks_a_crashed_cluster_is_told(shaped: Any, until: Any) -> None:
    """A cluster that stays and ends by itself keeps its folder, so that its name tells why."""
    cluster = EmbeddedCluster(shaped("told", nodes=1))
    with cluster:
        cluster.stay()
    try:
        os.kill(processes(cluster.name)["kube-scheduler"], signal.SIGABRT)
        until(lambda: processes(cluster.name) == {})
        until(lambda: not cluster.folder.alive())

        with pytest.raises(ClusterError, match="kube-scheduler ended with exit code"):
            EmbeddedCluster.attach(cluster.name)
        assert cluster.name not in {folder.name for folder in state.running()}
    finally:
        state.forget_dead()
    assert not cluster.folder.path.exists()


def test_leases_stay_fresh(cluster: EmbeddedCluster, until: Any) -> None:
    """Each node's Lease is renewed, so that no controller takes it for dead."""

    def renewed() -> list[str]:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        return [item["spec"]["renewTime"] for item in cluster.objects.get(path)["items"]]

    before = renewed()
    until(lambda: all(new > old for new, old in zip(renewed(), before, strict=True)))
