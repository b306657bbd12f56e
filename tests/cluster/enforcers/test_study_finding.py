"""The study's finding, from packets alone: which probes of which policy end wrong, and where.

Nothing here knows the matrix, the oracle or an enforcer's rules: what is allowed is said by hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from harness.clusters import make_embedded
from harness.clusters.base import Cluster, OutsideRef, Place, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.enforcers import make_enforcer
from harness.options import settings_from

pytestmark = pytest.mark.cluster

POLICIES = Path(__file__).parents[3] / "scenarios" / "study" / "policies"
PORTS = (80, 6379, 5978)
INSIDE, OUTSIDE = "14.215.0.10", "14.216.0.10"
PODS = {
    "a1": ("nsa", 0),
    "a2": ("nsa", 0),
    "a3": ("nsa", 1),
    "b1": ("nsb", 0),
    "b2": ("nsb", 1),
    "d1": ("default", 0),
    "d2": ("default", 1),
}
"""Namespace and node of every pod."""

WRONG_ON_A_BLIND_BRIDGE = {1: 18, 2: 24, 3: 21, 4: 24, 5: 15}
"""Of 54 probes between pods of one node, how many end wrong where bridged frames are not seen."""


@dataclass(frozen=True)
class Pair:
    """A client and a server: names of pods, or addresses of the outside."""

    client: str
    server: str

    @property
    def same_node(self) -> bool:
        """Whether both are pods of one node."""
        ends = (self.client, self.server)
        return all(end in PODS for end in ends) and len({PODS[end][1] for end in ends}) == 1


def pairs() -> list[Pair]:
    """Return every ordered pair but those of two outside hosts: 70."""
    ends = [*PODS, INSIDE, OUTSIDE]
    return [Pair(c, s) for c in ends for s in ends if c != s and {c, s} & PODS.keys()]


def allowed(policy: int, pair: Pair, port: int) -> bool:
    """Say by hand what a documented policy allows."""
    of_client, of_server = (PODS.get(end, ("", -1))[0] for end in (pair.client, pair.server))
    match policy:
        case 1:
            return of_server != "nsa" or of_client == "nsa"
        case 2:
            return of_server != "nsa"
        case 3:
            return of_server != "nsa" or (of_client, port) == ("nsb", 6379)
        case 4:
            return of_client != "nsa" or (pair.server, port) == (INSIDE, 5978)
        case _:
            return of_server != "default" or (pair.client, port) == (INSIDE, 80)


def workload(nodes: list[str]) -> list[dict[str, Any]]:
    """Return the namespaces and the pods of the study's finding."""
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": {"app": n}}}
        for n in ("nsa", "nsb")
    ]
    ports = [{"containerPort": port} for port in PORTS]
    container = {"name": "server", "image": "nginx", "ports": ports}
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": space, "name": name},
            "spec": {"nodeName": nodes[node], "containers": [container]},
        }
        for name, (space, node) in PODS.items()
    ]
    return [*spaces, *pods]


def policy_of(number: int) -> dict[str, Any]:
    """Read a documented policy, in the version of the API that today's servers take."""
    (file,) = (f for f in POLICIES.glob(f"{number}-*.yaml") if f.stem != "3-without-ports")
    manifest: dict[str, Any] = yaml.safe_load(file.read_text())
    return manifest | {"apiVersion": "networking.k8s.io/v1"}


@dataclass(frozen=True)
class Seen:
    """What one policy's probes came to: how many ended wrong, by placement."""

    same_node: int
    elsewhere: int


def look(cluster: Cluster, policy: int) -> Seen:
    """Probe every pair on every port and count what is not as it should be."""
    addresses = pod_addresses(cluster)
    cells = [(pair, port) for pair in pairs() for port in PORTS]
    probes = [
        Probe(place(pair.client), addresses.get(pair.server, pair.server), port)
        for pair, port in cells
    ]
    outcomes = cluster.probe(probes, timeout=0.25)
    wrong = [
        pair
        for (pair, port), outcome in zip(cells, outcomes, strict=True)
        if (outcome.verdict is Verdict.OPEN) is not allowed(policy, pair, port)
    ]
    same = sum(pair.same_node for pair in wrong)
    return Seen(same, len(wrong) - same)


def place(end: str) -> Place:
    """Return where a client is."""
    return PodRef(PODS[end][0], end) if end in PODS else OutsideRef(end)


def pod_addresses(cluster: Cluster) -> dict[str, str]:
    """Ask the API server for the pods' addresses."""
    client: Any = new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]
    with client:
        pods: list[Any] = CoreV1Api(client).list_pod_for_all_namespaces().items
    return {pod.metadata.name: pod.status.pod_ip for pod in pods}


def settle(cluster: Cluster, policy: int, wanted: Seen) -> Seen:
    """Look until it is as wanted, or half a minute has gone by; return what was seen last."""
    deadline = time.monotonic() + 30
    while (seen := look(cluster, policy)) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return seen


def up(*, bridge_netfilter: str) -> EmbeddedCluster:
    """Return two bridged nodes, as in the study, not up yet."""
    shape = {"cni": "bridged", "bridge_netfilter": bridge_netfilter, "control_plane": "builtin"}
    return make_embedded(settings_from(shape))


@pytest.fixture(scope="module", params=["off", "on"], ids=["bridge-nf off", "bridge-nf on"])
def wired(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, bool]]:
    """Bring a bridged cluster up with the pods; say whether iptables sees bridged frames."""
    with up(bridge_netfilter=request.param) as cluster:
        cluster.apply(workload([node.name for node in cluster.nodes()]))
        for namespace in ("nsa", "nsb", "default"):
            cluster.wait_ready(namespace)
        for address in (INSIDE, OUTSIDE):
            for port in PORTS:
                cluster.prober.serve(cluster.netns(OutsideRef(address)), address, port)
        yield cluster, request.param == "on"


def _real(variable: str) -> pytest.MarkDecorator:
    return pytest.mark.optional(f"${variable}", "iptables", "ipset")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("kube-router-0.2-model", marks=pytest.mark.optional("iptables", "ipset")),
        pytest.param(
            "kube-router-0.2-model=iptables-legacy",
            marks=pytest.mark.optional("iptables-legacy", "ipset"),
        ),
        pytest.param("KUBE_ROUTER_020", marks=_real("KUBE_ROUTER_020")),
        pytest.param("KUBE_ROUTER_2", marks=_real("KUBE_ROUTER_2")),
    ],
)
def kube_router(
    request: pytest.FixtureRequest,
    wired: tuple[Cluster, bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, bool]]:
    """Install a kube-router, or the model of its rules, on every node of a bridged cluster."""
    cluster, seeing = wired
    path = os.environ.get(request.param)
    enforcer = make_enforcer(f"kube-router={path}" if path else request.param)
    try:
        enforcer.install(cluster, tmp_path_factory.mktemp("logs"))
        enforcer.wait_ready()
        yield cluster, seeing
    finally:
        enforcer.uninstall()


@pytest.fixture(scope="module")
def bundled(
    wired: tuple[Cluster, bool], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Install the enforcer of this repository on every node of a bridged cluster."""
    cluster, _ = wired
    enforcer = make_enforcer("bundled")
    try:
        enforcer.install(cluster, tmp_path_factory.mktemp("logs"))
        enforcer.wait_ready()
        yield cluster
    finally:
        enforcer.uninstall()


@pytest.mark.parametrize("policy", WRONG_ON_A_BLIND_BRIDGE)
def test_kube_router_fails_on_one_node_where_the_bridge_hides_frames(
    kube_router: tuple[Cluster, bool], policy: int
) -> None:
    """Rows 1 to 5 pass on other nodes; row 6 fails with bridge-nf off and passes with it on."""
    cluster, seeing = kube_router
    wanted = Seen(0 if seeing else WRONG_ON_A_BLIND_BRIDGE[policy], 0)
    cluster.apply([policy_of(policy)])
    try:
        seen = settle(cluster, policy, wanted)
    finally:
        cluster.delete([policy_of(policy)])

    assert seen == wanted


@pytest.mark.parametrize("policy", WRONG_ON_A_BLIND_BRIDGE)
def test_the_bundled_enforcer_isolates_on_one_node_too(bundled: Cluster, policy: int) -> None:
    """Every row passes on the same node and elsewhere, whether frames are shown or not."""
    bundled.apply([policy_of(policy)])
    try:
        seen = settle(bundled, policy, Seen(0, 0))
    finally:
        bundled.delete([policy_of(policy)])

    assert seen == Seen(0, 0)
