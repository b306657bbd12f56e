"""Random clusters under random policies: packets, old connections included, agree with the oracle.

A history is drawn from a seed: policies come, change and go, pods and namespaces get other labels,
pods are made anew. After each step every connection of the matrix is tried, and every connection
that is open from before. ``pytest tests/cluster/fuzz --steps 200 --seed 7`` makes histories longer,
and others.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from harness.clusters import make_embedded
from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef, Probe, Verdict
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.enforcers import make_enforcer
from harness.matrix.oracle import Oracle
from harness.matrix.probing import probe_all
from harness.matrix.reading import read_cluster
from harness.options import settings_from
from tests.cluster.fuzz import draws
from tests.cluster.fuzz.kept import Kept

pytestmark = pytest.mark.cluster

SETTLE = 20.0
"""Seconds after which a difference stays one; convergence takes milliseconds."""
SERVICE_PORT = 8000
OUTSIDE = tuple(
    OutsideRef(one)
    for one in (
        "14.215.0.10",
        "14.216.0.10",
        "8.8.8.8",
        "2001:db8:14:215::10",
        "2001:db8:14:216::10",
    )
)
ANYWHERE = {4: "0.0.0.0", 6: "::"}  # whatever address a pod has
WIRINGS = {
    "routed": {"cni": "routed", "ip-family": "ipv6"},
    "bridged": {"cni": "bridged", "ip-family": "dual"},
    "bridged-netfilter": {"cni": "bridged", "bridge-netfilter": "on", "ip-family": "ipv4"},
}
"""Each as it is wired, and with which families."""


@dataclass
class Fuzzer:
    """A cluster with an enforcer, and the history so far."""

    cluster: EmbeddedCluster
    draw: random.Random
    policies: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the pods and the servers."""
        self.cluster.apply([*draws.namespaces(), *draws.pods(self.draw), *draws.services()])
        self.cluster.wait_ready()
        connection = config.new_client_from_config(str(self.cluster.kubeconfig))  # type: ignore[no-untyped-call]
        self.core = client.CoreV1Api(connection)
        versions = {_version(address) for address in self.cluster.nodes()[0].addresses}
        self.everywhere = [ANYWHERE[version] for version in versions]
        self.outside = [host for host in OUTSIDE if _version(host.address) in versions]
        for pod in draws.PODS:
            self.serve(PodRef(*pod), *self.everywhere)
        for node in self.cluster.nodes():
            self.serve(NodeRef(node.name), *node.addresses)
        for host in self.outside:
            self.serve(host, host.address)
        self.kept = Kept(self.cluster)

    def close(self) -> None:
        """Hang up."""
        self.kept.close()
        self.core.api_client.close()

    def serve(self, place: Place, *addresses: str) -> None:
        """Have a place answer at every port of these addresses of its own."""
        for server in product(addresses, draws.PORTS, draws.PROTOCOLS):
            self.cluster.prober.serve(self.cluster.netns(place), *server)

    def step(self) -> None:
        """Change something at random."""
        actions = [self._policy] * 6 + [self._drop] * 2 + [self._relabel_pod] * 3
        actions += [self._relabel_namespace] * 2 + [self._remake_pod]
        self.draw.choice(actions)()

    def _policy(self) -> None:
        manifest = draws.policy(self.draw, f"p{self.draw.randrange(5)}")
        metadata = manifest["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        self.policies[key] = manifest
        self.history.append(f"policy {key}: {manifest['spec']}")
        self.cluster.apply([manifest])

    def _drop(self) -> None:
        if self.policies:
            key = self.draw.choice(sorted(self.policies))
            self.history.append(f"delete {key}")
            self.cluster.delete([self.policies.pop(key)])

    def _relabel_pod(self) -> None:
        namespace, name = self.draw.choice(draws.PODS)
        labels = draws.relabelled(self.draw)
        self.history.append(f"label pod {namespace}/{name} {labels}")
        body = {"metadata": {"labels": labels}}
        self.core.patch_namespaced_pod(name, namespace, body)

    def _relabel_namespace(self) -> None:
        name, labels = self.draw.choice(draws.NAMESPACES), draws.relabelled(self.draw)
        self.history.append(f"label namespace {name} {labels}")
        self.core.patch_namespace(name, {"metadata": {"labels": labels}})

    def _remake_pod(self) -> None:
        namespace, name = self.draw.choice(draws.PODS)
        self.history.append(f"remake {namespace}/{name}")
        made = draws.pod(self.draw, namespace, name)
        place = PodRef(namespace, name)
        for server in product(self.everywhere, draws.PORTS, draws.PROTOCOLS):
            self.cluster.prober.close_server(self.cluster.netns(place), *server)
        self.kept.forget(place)
        self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        self.cluster.apply([made])
        self.cluster.wait_ready()
        self.serve(place, *self.everywhere)

    def check(self) -> None:
        """Compare every connection, new and old, with the oracle."""
        world = read_cluster(self.cluster.kubeconfig)
        probes = list(self._probes(world))
        oracle = Oracle([*world, *self.policies.values()])
        sources = self._addresses(world)
        wanted = [
            oracle.judge(_facing(sources[one.source], one.address), *_asked(one)) for one in probes
        ]
        deadline = time.monotonic() + SETTLE
        while True:
            seen = probe_all(self.cluster, probes, 0.25).outcomes
            wrong = [
                f"{one.source} -> {one.address}:{one.port}/{one.protocol}: {outcome.verdict.value}"
                f" ({outcome.detail}), but: {judged}"
                for one, outcome, judged in zip(probes, seen, wanted, strict=True)
                if outcome.verdict is not (Verdict.OPEN if judged.allowed else Verdict.DROPPED)
            ]
            if not wrong or time.monotonic() > deadline:
                break
        assert not wrong, "\n".join([*self.history, f"{len(wrong)} wrong:", *wrong[:20]])
        allowed = {one: judged.allowed for one, judged in zip(probes, wanted, strict=True)}
        late = self.kept.check(allowed)
        assert not late, "\n".join([*self.history, "old connections:", *late[:20]])
        self.kept.open([one for one in probes if allowed[one]], self.draw)

    def _probes(self, world: list[dict[str, Any]]) -> Iterator[Probe]:
        places = self._addresses(world)
        pods = {one for place, own in places.items() if isinstance(place, PodRef) for one in own}
        ports = [*product((one for own in places.values() for one in own), draws.PORTS)]
        services = [one["spec"]["clusterIPs"] for one in world if one["kind"] == "Service"]
        fronts = [(one, SERVICE_PORT) for each in services for one in each]
        for source, own in places.items():
            # Pods reach for everything, nodes and hosts outside for pods
            targets = [*ports, *fronts] if isinstance(source, PodRef) else ports
            for (address, port), protocol in product(targets, draws.PROTOCOLS):
                wanted = isinstance(source, PodRef) or address in pods
                if wanted and _version(address) in map(_version, own):
                    yield Probe(source, address, port, protocol)

    def _addresses(self, world: list[dict[str, Any]]) -> dict[Place, list[str]]:
        """Return every address of every place."""
        found: dict[Place, list[str]] = {host: [host.address] for host in self.outside}
        for one in world:
            name, status = one["metadata"]["name"], one.get("status", {})
            match one["kind"]:
                case "Pod":
                    own = [item["ip"] for item in status["podIPs"]]
                    found[PodRef(one["metadata"]["namespace"], name)] = own
                case "Node":
                    own = [item for item in status["addresses"] if item["type"] == "InternalIP"]
                    found[NodeRef(name)] = [item["address"] for item in own]
        return found


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _facing(addresses: list[str], other: str) -> str:
    """Return the address of a place from which it speaks to another one."""
    return next(one for one in addresses if _version(one) == _version(other))


def _asked(probe: Probe) -> tuple[str, int, str]:
    return probe.address, probe.port, probe.protocol


@pytest.mark.parametrize("wiring", WIRINGS)
def test_packets_agree_with_the_oracle(
    tmp_path: Path, wiring: str, pytestconfig: pytest.Config
) -> None:
    """Whatever policies and labels follow each other, packets do what the specification says."""
    begin = random.Random(f"{wiring} {pytestconfig.getoption('seed')}")
    with make_embedded(settings_from(WIRINGS[wiring] | {"control_plane": "builtin"})) as cluster:
        enforcer = make_enforcer("bundled")
        enforcer.install(cluster, tmp_path)
        enforcer.wait_ready()
        with contextlib.closing(Fuzzer(cluster, begin)) as fuzzer:
            for _ in range(pytestconfig.getoption("steps")):
                fuzzer.step()
                fuzzer.check()
