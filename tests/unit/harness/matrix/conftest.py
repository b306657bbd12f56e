"""A cluster in memory that enforces by the oracle, with a defect planted where a test wants one."""

# the protocols that the fakes stand for say what each method means

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from harness.clusters.base import (
    Completed,
    Held,
    NodeInfo,
    NodeRef,
    Outcome,
    Place,
    PodRef,
    Probe,
    Process,
    Right,
    Verdict,
)
from harness.enforcers.base import State
from harness.matrix.engine import Lab, Wishes
from harness.matrix.oracle import Oracle
from harness.matrix.scenario import Scenario, folder, load_scenario
from harness.matrix.watching import Patience
from harness.matrix.world import World

Manifest = dict[str, Any]
ANSWER = 0.0004


@dataclass(frozen=True)
class Packet:
    """What a planted defect sees: where it comes from, where it goes, and the right verdict."""

    source: Place
    probe: Probe
    allowed: bool
    near: bool
    service: bool
    oracle: Oracle


Defect = Callable[[Packet], bool]


def no_defect(packet: Packet) -> bool:
    """Enforce what the policies say."""
    return packet.allowed


class FakeCluster:
    """Two nodes; every pod serves the ports that it names, hosts outside serve the matrix's."""

    kind = "fake"
    name = "fake"
    made: ClassVar[dict[Path, FakeCluster]] = {}

    def __init__(self, defect: Defect | str = no_defect) -> None:
        self.kubeconfig = self.node_kubeconfig = Path(f"fake-{len(self.made)}")
        self.made[self.kubeconfig] = self
        self.defect: Defect = no_defect if isinstance(defect, str) else defect
        self.denial = Verdict.DROPPED
        self.enforcing = defect == "enforcing"
        self.deaf: set[str] = set()
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.made_so_far = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.objects.clear()

    def nodes(self) -> tuple[NodeInfo, ...]:
        return tuple(NodeInfo(f"n{i}", f"10.1.0.{i}", (f"10.2.{i}.0/24",)) for i in (1, 2))

    def describe(self) -> Mapping[str, Any]:
        return {"kind": self.kind}

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        return self.node_kubeconfig

    def apply(self, manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            if manifest["kind"] == "NetworkPolicy":
                assert manifest["apiVersion"] == "networking.k8s.io/v1"
            self.objects[self._key(manifest)] = self._alive(manifest)

    def delete(self, manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            self.objects.pop(self._key(manifest), None)

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Everything is ready at once."""

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        oracle = Oracle(self.read(self.kubeconfig))
        return [self._outcome(oracle, probe, timeout) for probe in probes]

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        key = ("Pod", pod.namespace, pod.name)
        status = self.objects[key]["status"]
        self.objects[key] = self.objects[key] | {"status": status | {"phase": "Failed"}}

    def serve(self, place: Place, port: int, protocol: str = "TCP") -> None: ...

    def unsupported(self) -> Mapping[str, str]:
        return {}

    def hold(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Held]:
        return [Held(one, out, 1) for one, out in zip(probes, self.probe(probes), strict=True)]

    def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
        return self.probe([one.probe for one in held], timeout)

    def release(self, held: Sequence[Held]) -> None: ...

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        return Completed(tuple(argv), 0, "table inet fake {}", "")

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        raise NotImplementedError

    def read(self, kubeconfig: Path) -> list[Manifest]:
        """Stand in for a listing by the API."""
        del kubeconfig
        nodes = [
            {
                "kind": "Node",
                "metadata": {"name": node.name},
                "status": {"addresses": [{"type": "InternalIP", "address": node.address}]},
            }
            for node in self.nodes()
        ]
        return [*nodes, *self.objects.values()]

    @classmethod
    def api_of(cls, kubeconfig: Path) -> FakeApi:
        """Stand in for the API of whichever cluster."""
        return FakeApi(cls.made[kubeconfig])

    def _key(self, manifest: Manifest) -> tuple[str, str, str]:
        metadata = manifest["metadata"]
        return manifest["kind"], metadata.get("namespace", ""), metadata["name"]

    def _alive(self, manifest: Manifest) -> Manifest:
        self.made_so_far += 1
        number = self.made_so_far
        if manifest["kind"] == "Pod":
            node = manifest["spec"]["nodeName"].removeprefix("n")
            return manifest | {"status": {"phase": "Running", "podIP": f"10.2.{node}.{number}"}}
        if manifest["kind"] == "Service":
            return manifest | {"spec": manifest["spec"] | {"clusterIP": f"10.96.0.{number}"}}
        return manifest

    def _outcome(self, oracle: Oracle, probe: Probe, timeout: float) -> Outcome:
        if probe.address in self.deaf:
            return Outcome(Verdict.RESET, ANSWER)
        source = self._address(probe.source)
        judgement = oracle.judge(source, probe.address, probe.port, probe.protocol)
        if not self.enforcing or self.defect(self._packet(oracle, probe, judgement.allowed)):
            return Outcome(Verdict.OPEN, ANSWER)
        return Outcome(self.denial, timeout if self.denial is Verdict.DROPPED else ANSWER)

    def _packet(self, oracle: Oracle, probe: Probe, allowed: bool) -> Packet:
        world: World = oracle.world
        (end,) = world.backends(probe.address, probe.port, probe.protocol)
        client, server = world.peer(self._address(probe.source)), world.peer(end.address)
        near = bool(client.pod and server.pod and client.pod.node == server.pod.node)
        service = str(end.address) != probe.address
        return Packet(probe.source, probe, allowed, near, service, oracle)

    def _address(self, place: Place) -> str:
        if isinstance(place, PodRef):
            pod = self.objects["Pod", place.namespace, place.name]
            return str(pod["status"]["podIP"])
        if isinstance(place, NodeRef):
            return next(node.address for node in self.nodes() if node.name == place.name)
        return place.address


class FakeApi:
    """What a person does with kubectl, on a fake cluster."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def world(self) -> list[Manifest]:
        return self._cluster.read(self._cluster.kubeconfig)

    def label_pod(self, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        self._label(("Pod", namespace, name), labels)

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> None:
        self._label(("Namespace", "", name), labels)

    def _label(self, key: tuple[str, str, str], labels: Mapping[str, str | None]) -> None:
        one = self._cluster.objects[key]
        merged = {**one["metadata"].get("labels", {}), **labels}
        kept = {name: value for name, value in merged.items() if value is not None}
        self._cluster.objects[key] = one | {"metadata": one["metadata"] | {"labels": kept}}

    def phase_of(self, namespace: str, name: str) -> str:
        found = self._cluster.objects.get(("Pod", namespace, name))
        return str(found["status"]["phase"]) if found else ""

    def close(self) -> None: ...


class FakeEnforcer:
    """Switches a fake cluster's enforcement on and off."""

    name = "fake"

    def __init__(self) -> None:
        self.cluster: FakeCluster | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def install(self, cluster: FakeCluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        del logs, nodes
        self.cluster = cluster
        cluster.enforcing = True

    def uninstall(self) -> None:
        if self.cluster is not None:
            self.cluster.enforcing = False

    def wait_ready(self, timeout: float = 60.0) -> None: ...
    def disable(self) -> None: ...
    def enable(self) -> None: ...
    def restart(self) -> None: ...
    def state(self) -> State:
        return State.ON

    def cpu_seconds(self) -> float:
        return 0.0


@pytest.fixture(scope="session")
def study() -> Scenario:
    """Return the study's scenario as it is in the repository."""
    return load_scenario(folder() / "study" / "cases.yaml")


QUICK = Patience(probe=0.01, glance=0.01, guard=0.0, stable=0.0, limit=0.0, pause=0.0)


@pytest.fixture
def make_lab(study: Scenario, tmp_path: Path) -> Iterable[Callable[[FakeCluster], Lab]]:
    """Return a maker of labs on fake clusters."""
    with ExitStack() as stack:

        def make(cluster: FakeCluster) -> Lab:
            wishes = Wishes("fake", patience=QUICK, make_api=FakeCluster.api_of)
            lab = Lab(cluster, FakeEnforcer(), study, wishes)  # type: ignore[arg-type]
            return stack.enter_context(lab.ready(tmp_path))

        yield make


@pytest.fixture
def fake_cluster() -> type[FakeCluster]:
    """Return the class of the fake, for tests that plant a defect."""
    return FakeCluster


@pytest.fixture
def fake_enforcer() -> type[FakeEnforcer]:
    """Return the class of the fake enforcer."""
    return FakeEnforcer
