"""Enforcers are started, switched, restarted and removed on a cluster; packets say what is on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.clusters import make_embedded
from harness.clusters.base import Cluster, NodeRef, PodRef, Probe, Verdict
from harness.enforcers import make_enforcer
from harness.enforcers.base import Enforcer, State
from harness.errors import EnforcerFailed
from harness.options import settings_from

pytestmark = pytest.mark.cluster

CLIENT, SERVER = PodRef("open", "client"), PodRef("closed", "server")
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"namespace": SERVER.namespace, "name": "nobody"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
LEFTOVERS = "nft list tables | grep npd; iptables-save | grep -e KUBE-; ipset list -n | grep KUBE-"
IPTABLES = pytest.mark.optional("iptables", "ipset")


def manifests(node: str) -> list[dict[str, Any]]:
    """Return a client and a server on one node."""
    made: list[dict[str, Any]] = []
    for pod in (CLIENT, SERVER):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": pod.namespace}}
        container = {"name": "server", "image": "nginx", "ports": [{"containerPort": 80}]}
        metadata = {"namespace": pod.namespace, "name": pod.name}
        spec = {"nodeName": node, "containers": [container]}
        made += [space, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]
    return made


@dataclass(frozen=True)
class Lab:
    """A cluster with an enforcer that is to keep the client from the server."""

    cluster: Cluster
    enforcer: Enforcer
    address: str

    def verdict(self) -> Verdict:
        """Try to connect once."""
        return self.cluster.probe([Probe(CLIENT, self.address, 80)])[0].verdict

    def until(self, wanted: Callable[[], bool]) -> bool:
        """Wait until something is so; half a minute at most."""
        deadline = time.monotonic() + 30
        while not wanted() and time.monotonic() < deadline:
            time.sleep(0.02)
        return wanted()

    def open(self) -> bool:
        """Whether the client reaches the server."""
        return self.verdict() is Verdict.OPEN

    def leftovers(self) -> str:
        """Return what an enforcer of ours has in the kernels of the nodes."""
        nodes = [NodeRef(node.name) for node in self.cluster.nodes()]
        return "".join(self.cluster.exec(n, ["sh", "-c", LEFTOVERS]).stdout for n in nodes)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Bring up two routed nodes with a client and a server on the first."""
    with make_embedded(settings_from({"control_plane": "builtin"})) as made:
        made.apply(manifests(made.nodes()[0].name))
        made.wait_ready()
        made.apply([DENY])
        yield made


@pytest.fixture(
    params=[
        "bundled",
        pytest.param("kube-router", marks=IPTABLES),
        pytest.param("kube-router-0.2-model", marks=IPTABLES),
    ]
)
def lab(
    request: pytest.FixtureRequest, cluster: Cluster, stand_in: Path, tmp_path: Path
) -> Iterator[Lab]:
    """Install an enforcer and wait until it says that it is in sync."""
    spec = f"kube-router={stand_in}" if request.param == "kube-router" else request.param
    enforcer = make_enforcer(spec)
    argv = ["ip", "-4", "-o", "address", "show", "scope", "global"]
    address = cluster.exec(SERVER, argv).stdout.split()[3].partition("/")[0]
    try:
        enforcer.install(cluster, tmp_path / "logs")
        enforcer.wait_ready()
        yield Lab(cluster, enforcer, address)
    finally:
        enforcer.uninstall()


def test_ready_means_enforced(lab: Lab) -> None:
    """What was applied before the installation is enforced once it says that it is ready."""
    assert (lab.enforcer.state(), lab.open()) == (State.ON, False)


def test_off_is_open_at_once_and_on_is_closed_at_once(lab: Lab) -> None:
    """A switch is done when the call returns: blocks of a measurement follow each other."""
    for _ in range(3):
        lab.enforcer.disable()
        assert (lab.enforcer.state(), lab.open()) == (State.OFF, True)

        lab.enforcer.enable()
        assert (lab.enforcer.state(), lab.open()) == (State.ON, False)


def test_the_daemon_goes_on_after_it_was_off(lab: Lab) -> None:
    """A policy that is removed while it is off has no effect any more once it is on again."""
    lab.enforcer.disable()
    lab.cluster.delete([DENY])
    try:
        lab.enforcer.enable()

        assert lab.until(lab.open)
    finally:
        lab.cluster.apply([DENY])
    assert lab.until(lambda: not lab.open())


def test_a_restart_leaves_no_gap(lab: Lab) -> None:
    """Rules outlive the daemon: not one attempt gets through while it is replaced."""
    lab.enforcer.restart()
    tries = [lab.verdict() for _ in range(5)]
    lab.enforcer.wait_ready()

    assert Verdict.OPEN not in tries
    assert not lab.open()


def test_nothing_is_left_after_it_is_uninstalled(lab: Lab) -> None:
    """No table, chain, set or process of it; its CPU time stays known."""
    lab.enforcer.disable()

    lab.enforcer.uninstall()

    assert lab.open()
    assert lab.leftovers() == ""
    assert lab.enforcer.state() is State.ABSENT
    assert lab.enforcer.cpu_seconds() > 0


@IPTABLES
def test_a_daemon_that_cannot_start_is_told_with_its_log(cluster: Cluster, tmp_path: Path) -> None:
    """A wrong flag of the daemon's ends it: the message carries what it said."""
    script = tmp_path / "kube-router"
    script.write_text(
        "#!/bin/sh\ncase $1 in --help) echo --run-firewall;; --version) echo 9;; "
        "*) echo no such cluster; exit 3;; esac\n"
    )
    script.chmod(0o755)
    enforcer = make_enforcer(f"kube-router={script}")
    enforcer.install(cluster, tmp_path / "logs")
    try:
        with pytest.raises(EnforcerFailed, match=r"(?s)ended by itself.*no such cluster"):
            enforcer.wait_ready()
    finally:
        enforcer.uninstall()
