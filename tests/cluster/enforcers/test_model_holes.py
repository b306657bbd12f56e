"""The two other holes of kube-router 0.2.0's layout, where the bridge does show its frames."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.clusters import make_embedded
from harness.clusters.base import Cluster, NodeRef, PodRef, Probe, Verdict
from harness.enforcers import make_enforcer
from harness.matrix.reading import read_cluster
from harness.options import settings_from

pytestmark = [pytest.mark.cluster, pytest.mark.optional("iptables", "ipset")]

CLIENT, NEAR, FAR, OTHER = (PodRef("holes", name) for name in ("client", "near", "far", "other"))
LISTEN = """
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("", 4000))
while True: print(heard.recv(99).decode(), flush=True)
"""
SPEAK = """
import socket, sys
source, server, text = sys.argv[1:]
speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
speaker.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
speaker.bind((source, 0))
speaker.sendto(text.encode(), (server, 4000))
"""


def policy(pod: PodRef, direction: str, *rules: dict[str, Any]) -> dict[str, Any]:
    """Return a policy for one pod and one direction; without rules it denies all."""
    spec = {"podSelector": {"matchLabels": {"name": pod.name}}, "policyTypes": [direction]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": pod.namespace, "name": f"{pod.name}-{direction.lower()}"},
        "spec": spec | ({direction.lower(): list(rules)} if rules else {}),
    }


def workload(nodes: list[str]) -> list[dict[str, Any]]:
    """Return a client and a server on one node, and two pods on the other one."""
    places = {CLIENT: nodes[0], NEAR: nodes[0], FAR: nodes[1], OTHER: nodes[1]}
    container = {"name": "server", "image": "nginx", "ports": [{"containerPort": 80}]}
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": p.namespace, "name": p.name, "labels": {"name": p.name}},
            "spec": {"nodeName": node, "containers": [container]},
        }
        for p, node in places.items()
    ]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "holes"}}, *pods]


@dataclass(frozen=True)
class Lab:
    """A cluster under the model, and the pods' addresses."""

    cluster: Cluster
    addresses: dict[str, str]
    logs: Path

    def open(self, client: PodRef, server: PodRef) -> bool:
        """Try to connect once."""
        probe = Probe(client, self.addresses[server.name], 80)
        return self.cluster.probe([probe])[0].verdict is Verdict.OPEN

    def becomes(self, client: PodRef, server: PodRef, *, is_open: bool) -> bool:
        """Whether a connection becomes open, or closed, within half a minute."""
        deadline = time.monotonic() + 30
        while self.open(client, server) is not is_open:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Bring up bridged nodes whose frames iptables sees, and install the model."""
    shape = {"cni": "bridged", "bridge_netfilter": "on", "control_plane": "builtin"}
    logs = tmp_path_factory.mktemp("logs")
    enforcer = make_enforcer("kube-router-0.2-model")
    with make_embedded(settings_from(shape)) as cluster:
        cluster.apply(workload([node.name for node in cluster.nodes()]))
        cluster.wait_ready("holes")
        pods = [one for one in read_cluster(cluster.kubeconfig) if one["kind"] == "Pod"]
        addresses = {one["metadata"]["name"]: one["status"]["podIP"] for one in pods}
        try:
            enforcer.install(cluster, logs)
            enforcer.wait_ready()
            yield Lab(cluster, addresses, logs)
        finally:
            enforcer.uninstall()


def test_an_egress_that_is_accepted_is_not_asked_for_ingress(lab: Lab) -> None:
    """The ACCEPT ends the way on the client's node: a closed server there is open, a far one not.

    Until the client has a policy of its own, both are closed.
    """
    closed = [policy(NEAR, "Ingress"), policy(FAR, "Ingress")]
    allowed = policy(CLIENT, "Egress", {"to": [{"podSelector": {}}]})
    lab.cluster.apply(closed)
    try:
        assert lab.becomes(CLIENT, NEAR, is_open=False)
        assert lab.becomes(CLIENT, FAR, is_open=False)

        lab.cluster.apply([allowed])

        assert lab.becomes(CLIENT, NEAR, is_open=True)
        assert not lab.open(CLIENT, FAR)
    finally:
        lab.cluster.delete([*closed, allowed])


def test_what_leaves_by_output_is_not_asked_for_egress(lab: Lab) -> None:
    """A proxy on the node that sends on in a client's name, as IPVS does, opens a closed egress.

    The server's ingress is asked there, and what is sent in the name of its peer is let in.
    """
    closed, only_far = policy(CLIENT, "Egress"), policy(NEAR, "Ingress", {"from": [PEER]})
    log = lab.logs / "heard.log"
    listener = lab.cluster.spawn(NEAR, [sys.executable, "-c", LISTEN], log)
    node = NodeRef(lab.cluster.nodes()[0].name)

    def speak(source: PodRef, text: str) -> None:
        names = (lab.addresses[source.name], lab.addresses[NEAR.name], text)
        lab.cluster.exec(node, [sys.executable, "-c", SPEAK, *names])

    try:
        lab.cluster.apply([closed])
        assert lab.becomes(CLIENT, NEAR, is_open=False)
        assert hears(log, lambda: speak(CLIENT, "hole"), "hole")

        lab.cluster.apply([only_far])
        assert lab.becomes(OTHER, NEAR, is_open=False)
        speak(CLIENT, "denied")
        assert hears(log, lambda: speak(FAR, "allowed"), "allowed")
    finally:
        listener.stop()
        lab.cluster.delete([closed, only_far])

    assert "denied" not in log.read_text()


PEER = {"podSelector": {"matchLabels": {"name": "far"}}}


def hears(log: Path, speak: Callable[[], None], text: str) -> bool:
    """Speak until the listener has heard it, half a minute at most."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        speak()
        time.sleep(0.05)
        if log.exists() and text in log.read_text():
            return True
    return False
