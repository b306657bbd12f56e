"""Random clusters under random policies: packets, old connections included, agree with the oracle.

A history is drawn from a seed: policies come, change and go, pods and namespaces get other labels,
pods are made anew. After each step every connection of the matrix is tried, and every connection
that is open from before. ``NPD_FUZZ_STEPS`` makes histories longer, ``NPD_FUZZ_SEED`` others.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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

STEPS = int(os.environ.get("NPD_FUZZ_STEPS", "5"))
SEED = int(os.environ.get("NPD_FUZZ_SEED", "0"))
SETTLE = 20.0
"""Seconds after which a difference stays one; convergence takes milliseconds."""
SERVICE_PORT = 8000
OUTSIDE = tuple(OutsideRef(one) for one in ("14.215.0.10", "14.216.0.10", "8.8.8.8"))
WIRINGS = {
    "routed": {"cni": "routed"},
    "bridged": {"cni": "bridged"},
    "bridged-netfilter": {"cni": "bridged", "bridge-netfilter": "on"},
}


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
        for pod in draws.PODS:
            self.serve(PodRef(*pod), "0.0.0.0")  # whatever address the pod has
        for node in self.cluster.nodes():
            self.serve(NodeRef(node.name), node.address)
        for host in OUTSIDE:
            self.serve(host, host.address)
        self.kept = Kept(self.cluster)

    def close(self) -> None:
        """Hang up."""
        self.kept.close()
        self.core.api_client.close()

    def serve(self, place: Place, address: str) -> None:
        """Have a place answer at every port."""
        for protocol in draws.PROTOCOLS:
            for port in draws.PORTS:
                self.cluster.prober.serve(self.cluster.netns(place), address, port, protocol)

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
        for protocol in draws.PROTOCOLS:
            for port in draws.PORTS:
                self.cluster.prober.close_server(
                    self.cluster.netns(place), "0.0.0.0", port, protocol
                )
        self.kept.forget(place)
        self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        self.cluster.apply([made])
        self.cluster.wait_ready()
        self.serve(place, "0.0.0.0")

    def check(self) -> None:
        """Compare every connection, new and old, with the oracle."""
        world = read_cluster(self.cluster.kubeconfig)
        probes = list(self._probes(world))
        oracle = Oracle([*world, *self.policies.values()])
        sources = _addresses(world)
        wanted = [
            oracle.judge(sources[one.source], one.address, one.port, one.protocol) for one in probes
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
        addresses = _addresses(world)
        pods = [one for place, one in addresses.items() if isinstance(place, PodRef)]
        ports = [(one, port) for one in addresses.values() for port in draws.PORTS]
        services = [one["spec"]["clusterIP"] for one in world if one["kind"] == "Service"]
        fronts = [(one, SERVICE_PORT) for one in services]
        for source in addresses:
            # Pods reach for everything, nodes and hosts outside for pods
            own = [*ports, *fronts] if isinstance(source, PodRef) else ports
            for address, port in own:
                if isinstance(source, PodRef) or address in pods:
                    for protocol in draws.PROTOCOLS:
                        yield Probe(source, address, port, protocol)


def _addresses(world: list[dict[str, Any]]) -> dict[Place, str]:
    found: dict[Place, str] = {host: host.address for host in OUTSIDE}
    for one in world:
        name = one["metadata"]["name"]
        match one["kind"]:
            case "Pod":
                found[PodRef(one["metadata"]["namespace"], name)] = one["status"]["podIP"]
            case "Node":
                found[NodeRef(name)] = one["status"]["addresses"][0]["address"]
    return found


@pytest.mark.parametrize("wiring", WIRINGS)
def test_packets_agree_with_the_oracle(tmp_path: Path, wiring: str) -> None:
    """Whatever policies and labels follow each other, packets do what the specification says."""
    with make_embedded(settings_from(WIRINGS[wiring] | {"control_plane": "builtin"})) as cluster:
        enforcer = make_enforcer("bundled")
        enforcer.install(cluster, tmp_path)
        enforcer.wait_ready()
        with contextlib.closing(Fuzzer(cluster, random.Random(f"{wiring} {SEED}"))) as fuzzer:
            for _ in range(STEPS):
                fuzzer.step()
                fuzzer.check()
