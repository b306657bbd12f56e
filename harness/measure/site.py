"""The cluster made ready to be measured: workload, policy, limits, the switch and its witness."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from harness.clusters.base import (
    Cluster,
    Manifest,
    Outcome,
    OutsideRef,
    Place,
    PodRef,
    Probe,
    Verdict,
)
from harness.enforcers import present
from harness.enforcers.base import Enforcer
from harness.enforcers.present import ByPolicy
from harness.errors import ClusterError
from harness.load import limits
from harness.measure import servers
from harness.measure.addresses import Addresses
from harness.measure.bench import Target
from harness.measure.clients import Clients
from harness.measure.plan import Arm, Placement
from harness.measure.progress import Narrator
from harness.measure.switch import SILENCE, SYNC_SECONDS, Switch, Witness
from harness.results import RunFolder
from harness.workload import study as workload
from harness.workload import sweep
from harness.workload.sweep import Quantity

ROUTES = "routes.txt"
"""The client's routes, in a run's folder."""

_CHUNK = 500  # objects that are sent between two looks at the progress
_SAMPLE = 20  # interfering Services that are probed after each growth
_READY_SECONDS = 600.0
_REACH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where the measurement happens."""

    cluster: Cluster
    addresses: Addresses
    narrator: Narrator
    crowd: workload.Crowd
    clients: Clients
    switch: Switch
    target: Target


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is there: the interfering Services, and who asks."""

    crowd: workload.Crowd
    clients: Clients
    inside: Mapping[Placement, Place] = field(default_factory=dict)
    """The pods that load comes from, where it does not come from the clients."""

    @property
    def policies(self) -> list[Manifest]:
        """The study's policy, and that of the client pods where there are any."""
        return [
            workload.policy(self.clients.cidr),
            *([workload.placed_policy()] if self.inside else []),
        ]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a site is opened on."""

    cluster: Cluster
    enforcers: Mapping[str, Enforcer]
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Roads:
    """What it takes to lead a client to Services."""

    cluster: Cluster
    addresses: Addresses
    folder: RunFolder


@dataclass(frozen=True, slots=True)
class Reached:
    """Of a sample of interfering Services: how many answered the allowed client."""

    answered: int
    sampled: int


def settle(
    cluster: Cluster, services: int, clients: Clients, elsewhere: Sequence[Placement] = ()
) -> tuple[Cast, dict[str, dict[str, str]]]:
    """Widen the limits of clients and nodes, deploy the measured Services and their policies."""
    nodes = tuple(node.name for node in cluster.nodes())
    cast = Cast(workload.Crowd(nodes, services), clients, _inside(nodes, elsewhere))
    manifests = [*workload.measured(nodes), *(workload.placed(nodes) if cast.inside else ())]
    cluster.apply([*manifests, *cast.policies])
    cluster.wait_ready(workload.NAMESPACE, timeout=_READY_SECONDS)
    if cast.inside:
        cluster.wait_ready(workload.CLIENTS_NAMESPACE, timeout=_READY_SECONDS)
    sysctls = limits.widen(cluster, (clients.allowed, *cast.inside.values()))
    return cast, sysctls


def _inside(nodes: Sequence[str], elsewhere: Sequence[Placement]) -> dict[Placement, Place]:
    """Return the pod that load comes from in each placement inside of the cluster."""
    homes = dict(zip((Placement.SAME_NODE, Placement.OTHER_NODE), nodes, strict=False))
    return {
        placement: PodRef(workload.CLIENTS_NAMESPACE, f"on-{homes[placement]}")
        for placement in elsewhere
        if placement in homes
    }


def lead(cast: Cast, site: Roads) -> None:
    """Give a client outside a route to each Service's address, by the node that has its pods.

    What a router that learns Service addresses (by BGP, or as a load balancer) knows. A pod needs
    none: its own node knows every Service.
    """
    client = cast.clients.allowed
    if not isinstance(client, OutsideRef):
        return
    gateways = {node.name: node.address for node in site.cluster.nodes()}
    homes = workload.homes(cast.crowd)
    lines = [
        f"route replace {address}/32 via {gateways[homes[name]]}\n"
        for name, address in site.addresses.services().items()
        if name in homes
    ]
    batch = site.folder.write_text(ROUTES, "".join(lines)).absolute()
    done = site.cluster.exec(client, ("ip", "-batch", str(batch)))
    if done.returncode:
        message = f"{client}: cannot set the routes in {batch}: {done.stderr.strip()}"
        raise ClusterError(message)


def open_site(ground: Ground, narrator: Narrator, cast: Cast) -> Site:
    """Find the measured addresses and prove that nothing enforces yet."""
    clients, addresses = cast.clients, ground.addresses
    services = addresses.services()
    service = services[workload.TEST_SERVICE]
    names = (workload.pod_name(workload.TEST_SERVICE, each) for each in range(workload.TEST_PODS))
    pods = tuple(addresses.pod(name) for name in names)
    hosts = cast.crowd.nodes[: 2 if Placement.OTHER_NODE in cast.inside else 1]
    crossed = tuple(dict.fromkeys((*hosts, *clients.nodes)))
    witness = Witness.of(clients, (service, *pods), workload.PORT, crossed)
    enforcers = {name: _own(one, ground, cast) for name, one in ground.enforcers.items()}
    switch = Switch(ground.cluster, enforcers, witness, cast.policies)
    if present.NAME in enforcers:
        switch.prove(Arm.OFF, SYNC_SECONDS)
    switch.guard()
    urls = {Placement.SERVICE: _url(service), Placement.POD: _url(pods[0])}
    target = Target(
        client=clients.allowed,
        source=clients.source,
        urls=urls | {each: _url(services[workload.PLACED_SERVICE]) for each in cast.inside},
        nodes=crossed,
        inside=cast.inside,
        servers=servers.find(ground.cluster, _serving(cast)),
    )
    return Site(ground.cluster, addresses, narrator, cast.crowd, clients, switch, target)


def _serving(cast: Cast) -> list[PodRef]:
    """Return the pods that answer the load, wherever it comes from."""
    names = (workload.TEST_SERVICE, *((workload.PLACED_SERVICE,) if cast.inside else ()))
    pods = (workload.pod_name(name, each) for name in names for each in range(workload.TEST_PODS))
    return [PodRef(workload.NAMESPACE, pod) for pod in pods]


def _own(enforcer: Enforcer, ground: Ground, cast: Cast) -> Enforcer:
    """Return an enforcer as it is switched here: what is present by the policies alone."""
    if enforcer.name == present.NAME:
        return ByPolicy(ground.cluster, cast.policies)
    return enforcer


def newcomers(site: Site, quantity: Quantity, size: int) -> Witness:
    """Return the witness of what came last: pods on the measured node, or peers of a sweep.

    An enforcer that has not followed yet fails one of its probes: it lets both clients in to a
    pod that it does not know, or neither; it does not let the last peer in, or the one after it.
    """
    crowd, pod = site.crowd, site.addresses.pod
    if quantity is not Quantity.PODS:
        address = pod(workload.pod_name(workload.TEST_SERVICE, 0))
        newest, next_one = (
            Probe(OutsideRef(sweep.host(number)), address, workload.PORT)
            for number in (size, size + 1)
        )
        return Witness((newest,), (next_one,))
    numbers = [n for n in range(crowd.services) if crowd.node_of(n) == crowd.nodes[0]]
    names = [workload.pod_name(workload.service_name(n), size - 1) for n in numbers[-_SAMPLE:]]
    found = Witness.of(site.clients, [pod(name) for name in names], workload.PORT)
    if not site.target.inside:
        return found
    address = site.addresses.services()[workload.PLACED_SERVICE]
    stranger = PodRef(workload.NAMESPACE, workload.pod_name(workload.TEST_SERVICE, 0))
    controls = (Probe(each, address, workload.PORT) for each in site.target.inside.values())
    denied = Probe(stranger, address, workload.PORT)
    return Witness((*found.controls, *controls), (*found.denied, denied))


def grow(cluster: Cluster, crowd: workload.Crowd, have: int, want: int, narrator: Narrator) -> None:
    """Add pods until each interfering Service has ``want``; return when all are Ready."""
    manifests = list(workload.growth(crowd, have, want))
    with narrator.stage(f"adding pods up to {want} a service", len(manifests)) as stage:
        for chunk in _chunks(manifests):
            cluster.apply(chunk)
            stage.advance(len(chunk))
    cluster.wait_ready(workload.NAMESPACE, timeout=_READY_SECONDS)


def services_of(site: Site) -> dict[str, str]:
    """Return the addresses of the workload's Services by name, not of those beside them.

    A real control plane has its own in the same namespace, ``kubernetes``, which serves no page.
    """
    ours = workload.homes(site.crowd)
    found = site.addresses.services()
    return {name: found[name] for name in sorted(found) if name in ours}


def sample(site: Site) -> Reached:
    """Probe a sample of the interfering Services until all answer; raise if they do not."""
    named = services_of(site)
    addresses = [named[name] for name in named if name != workload.TEST_SERVICE]
    chosen = addresses[:: max(1, len(addresses) // _SAMPLE)]
    client = site.clients.allowed
    probes = [Probe(client, address, workload.PORT) for address in chosen]
    deadline = time.monotonic() + _REACH_SECONDS
    while True:
        outcomes = site.cluster.probe(probes, timeout=SILENCE)
        answered = _open(outcomes)
        if answered == len(probes):
            return Reached(answered, len(probes))
        if time.monotonic() > deadline:
            message = f"{answered} of {len(probes)} sampled Services answer {client}"
            raise ClusterError(message)
        time.sleep(SILENCE)


def _open(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.verdict is Verdict.OPEN for outcome in outcomes)


def _url(address: str) -> str:
    return f"http://{address}:{workload.PORT}/"


def _chunks(manifests: Iterable[Manifest]) -> Iterator[list[Manifest]]:
    rest = iter(manifests)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
