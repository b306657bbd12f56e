"""A real Kubernetes cluster as the rest of the harness sees it (``harness.clusters.base.Cluster``).

However one came by it: a subclass says how the cluster is reached, and undoes that in the end
(:meth:`KubeCluster._reach`). Everything else goes by the API server and by the agents.
"""

from __future__ import annotations

import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, assert_never

from harness.clusters.base import (
    Completed,
    Held,
    Manifest,
    NodeInfo,
    NodeRef,
    Outcome,
    OutsideRef,
    Place,
    PodRef,
    Probe,
    Process,
    Right,
    Tell,
    Transport,
    say_nothing,
)
from harness.clusters.kube.agents import Agents, manifests
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.ledger import Ledger
from harness.clusters.kube.probing import Door, Probing
from harness.clusters.kube.readiness import Readiness
from harness.clusters.kube.runner import Runner, runner
from harness.clusters.kube.sandboxes import NODE
from harness.clusters.kube.whereabouts import Whereabouts
from harness.clusters.kube.workloads import dressed, echo_ports
from harness.clusters.objects import Objects
from harness.errors import ClusterError
from harness.images.chosen import Images
from harness.prober.client import ProberClient

_POLL_SECONDS = 0.05
_ACCOUNT_SECONDS = 60.0
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # of a namespace of ours
_ONE_WAY = "client and server are with two probers, and neither hears what the other was sent"


class Outside(Protocol):
    """A host outside of the cluster that owns whatever public addresses probes come from."""

    @property
    def prober(self) -> ProberClient:
        """The way to its prober."""

    @property
    def server(self) -> ProberClient:
        """The way to its other prober, which is there for echo servers."""

    @property
    def netns(self) -> str:
        """What its prober calls its network."""

    def run(self, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command there."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A cluster that is up, and the way to it."""

    kubectl: Kubectl
    """Its kubeconfig's current context is the cluster."""
    nodes: tuple[NodeInfo, ...]
    """Those that are used, in the order of their names."""
    outside: Outside | None = None
    why_no_outside: str = "nothing outside of this cluster is ours"
    stays: bool = True
    """Whether it lives on without us, so that all that is ours has to be taken back."""


class KubeCluster(ABC):
    """Implements :class:`~harness.clusters.base.Cluster` on what a subclass reaches."""

    kind: str
    kubeconfig: Path
    node_kubeconfig: Path
    """The same one: programs on nodes are pods here, and have ServiceAccounts of their own."""

    def __init__(self, name: str, images: Images, tell: Tell = say_nothing) -> None:
        """Prepare; nothing is touched yet. ``images`` are what pods run, as nodes know them."""
        self.name = name
        self.logs_to: Path | None = None
        self.images = images
        self._tell = tell
        self._open = contextlib.ExitStack()
        self._whereabouts = Whereabouts()
        self._probing = Probing(self._door, self._answering)
        self._runners: dict[str, Runner] = {}
        self._lacking: Mapping[str, str] | None = None

    @abstractmethod
    def _reach(self, stack: contextlib.ExitStack) -> Reached:
        """Find the cluster, or make it; what has to be undone at the end goes on the stack."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return the settings that make this cluster what it is."""

    # ---- up and down ----

    def __enter__(self) -> Self:
        """Reach the cluster and start the agents; on failure nothing of ours is left."""
        with contextlib.ExitStack() as stack:
            self._reached = self._reach(stack)
            self.kubeconfig = self.node_kubeconfig = self.kubectl.kubeconfig
            self._objects = Objects(self.kubeconfig)
            stack.callback(self._objects.close)
            self._ledger = Ledger(self._objects)
            if self._reached.stays:
                stack.callback(self._ledger.take_back)
            self._tell("agents on nodes", 0, len(self._reached.nodes))
            names = tuple(node.name for node in self._reached.nodes)
            made = manifests(self.images.workload, names)
            self._ledger.add(made)  # so that their namespace goes together with all others
            self.agents = stack.enter_context(Agents(self.kubectl, made, removed=False))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove all that was made."""
        self._runners = {}
        self._open.close()

    # ---- what it is ----

    @property
    def kubectl(self) -> Kubectl:
        """The way in that a person would take."""
        return self._reached.kubectl

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes in the order of their names."""
        return self._reached.nodes

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        """Refuse: programs on nodes are pods here, with a ServiceAccount of their manifest's."""
        del rights
        raise ClusterError(f"{account}: on a {self.kind} cluster enforcers run as pods")

    # ---- objects ----

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create the objects, or replace those that exist, as the official client would."""
        wanted = [dressed(one, self.images.nginx) for one in manifests]
        spaces = [one for one in wanted if one["kind"] == "Namespace"]
        others = [one for one in wanted if one["kind"] != "Namespace"]
        self._ledger.add(wanted)
        self._objects.apply(spaces, lambda _: None)
        for one in spaces:
            self._wait_account(one["metadata"]["name"])
        self._objects.apply(others, lambda done: self._tell("objects created", done, len(others)))

    def delete(self, manifests: Iterable[Manifest]) -> None:
        """Delete the objects; those that are gone already are fine."""
        wanted = list(manifests)
        self._objects.delete(wanted, lambda done: self._tell("objects deleted", done, len(wanted)))
        self._ledger.strike(wanted)

    def _wait_account(self, namespace: str) -> None:
        """Return once pods can be created: a controller makes their ServiceAccount."""
        deadline = time.monotonic() + _ACCOUNT_SECONDS
        while self._objects.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is None:
            if time.monotonic() > deadline:
                raise ClusterError(f"namespace {namespace} got no ServiceAccount")
            time.sleep(_POLL_SECONDS)

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove those whose value is None."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self._objects.patch(path, {"metadata": {"annotations": dict(changes)}})

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Return when every pod (of a namespace) is Ready and its Services reach it."""
        names = tuple(node.name for node in self.nodes())
        pods = Readiness(self._objects, self.agents, names, self._tell).wait(namespace, timeout)
        if self._whereabouts.learn(pods):
            self.agents.refresh()
            self._open_echoes(pods)

    def space(self, namespace: str) -> str:
        """Return what a scenario's namespace is called here."""
        return namespace

    def address_of(self, pod: PodRef) -> str:
        """Return the address of a pod that was seen ready."""
        return self._whereabouts.seat(pod).address

    # ---- packets and programs ----

    def _open_echoes(self, pods: Iterable[Manifest]) -> None:
        """Have an echo server in a pod's network for each port that the pod does not serve."""
        impossible = self.unsupported()
        for pod in pods:
            host = pod["spec"].get("hostNetwork", False)
            netns = NODE if host else pod["metadata"]["uid"]
            prober = self.agents.server(pod["spec"]["nodeName"])
            for protocol, port in echo_ports(pod):
                for address in _WILDCARDS if protocol not in impossible else ():
                    prober.serve(netns, address, port, protocol)

    def _door(self, place: Place) -> Door:
        match place:
            case PodRef():
                seat = self._whereabouts.seat(place)
                return Door(self.agents.prober(seat.node), seat.uid)
            case NodeRef(name):
                return Door(self.agents.prober(name), NODE)
            case OutsideRef(address):
                outside = self._outside(place)
                return Door(outside.prober, outside.netns, address)
        assert_never(place)

    def _answering(self) -> Sequence[ProberClient]:
        """Return the probers that have echo servers."""
        near = [self.agents.server(node.name) for node in self.nodes()]
        return [*near, *([self._reached.outside.server] if self._reached.outside else [])]

    def _outside(self, place: OutsideRef) -> Outside:
        if self._reached.outside is None:
            raise ClusterError(f"{place}: {self._reached.why_no_outside}")
        return self._reached.outside

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``."""
        return self._probing.probe(probes, timeout)

    def hold(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Held]:
        """Open connections that stay, all at once; connection ``i`` belongs to probe ``i``."""
        return self._probing.hold(probes, timeout)

    def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
        """Ask held connections whether they still carry bytes in both directions."""
        return self._probing.ask(held, timeout)

    def release(self, held: Sequence[Held]) -> None:
        """Close held connections. Idempotent."""
        self._probing.release(held)

    def serve(self, place: Place, port: int, protocol: str = Transport.TCP) -> None:
        """Have an echo server listen at a place, at every address that it has; until the end."""
        door = self._door(place)
        addresses = (door.source,) if door.source else _WILDCARDS
        for address in addresses:
            self._server(place).serve(door.netns, address, port, protocol)

    def _server(self, place: Place) -> ProberClient:
        match place:
            case PodRef():
                return self.agents.server(self._whereabouts.seat(place).node)
            case NodeRef(name):
                return self.agents.server(name)
            case OutsideRef():
                return self._outside(place).server
        assert_never(place)

    def unsupported(self) -> Mapping[str, str]:
        """Say which transports cannot be probed here, each with the reason."""
        if self._lacking is None:
            node = self.nodes()[0].name
            said = self.agents.on_node(node, ["python3", "-m", "harness.prober.support"])
            lacking: dict[str, str] = json.loads(said)
            self._lacking = lacking | {Transport.UDP_ONE_WAY: _ONE_WAY}
        return self._lacking

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command inside a place and wait for it; no shell.

        On a node with the agent's programs, in a pod with its own.
        """
        match place:
            case PodRef():
                return self._runner_in(place).run(argv, timeout)
            case NodeRef(name):
                return self.agents.run(name, argv, timeout)
            case OutsideRef():
                return self._outside(place).run(argv, timeout)
        assert_never(place)

    def _runner_in(self, pod: PodRef) -> Runner:
        uid = self._whereabouts.seat(pod).uid
        if uid not in self._runners:
            into = self.kubectl.argv("-n", pod.namespace, "exec", "-i", pod.name, "--")
            self._runners[uid] = self._open.enter_context(runner(into))
        return self._runners[uid]

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Refuse: what goes on running is a pod here."""
        del log, env
        raise ClusterError(f"{argv[0]} at {place}: on a {self.kind} cluster programs run as pods")
