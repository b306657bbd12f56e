"""The embedded cluster as the rest of the harness sees it (``harness.clusters.base.Cluster``)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, assert_never

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
from harness.clusters.embedded import kubeconfig, launch, process, requirements, state, wire
from harness.clusters.embedded.addresses import (
    OUTSIDE_NAMESPACE,
    namespace_of_node,
    namespace_of_pod,
)
from harness.clusters.embedded.pki import Pki
from harness.clusters.embedded.realplane import URL
from harness.clusters.embedded.rights import SYSTEM
from harness.clusters.embedded.rights import account as manifests_of_account
from harness.clusters.embedded.settings import ControlPlane, Shape
from harness.clusters.objects import Objects, newest
from harness.errors import ClusterError
from harness.prober.client import ProberClient
from harness.prober.protocol import Attempt
from harness.prober.support import unsupported

_POLL_SECONDS = 0.05
_EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # of a namespace of ours


class EmbeddedCluster:
    """A cluster made of network namespaces; see :mod:`harness.clusters.embedded`.

    ``tell`` is called with what is being done, how far it is, and of how many.
    """

    kind = "embedded"

    def __init__(self, shape: Shape, tell: Tell = say_nothing) -> None:
        """Describe a cluster; entering it brings it up."""
        self.name = shape.name
        self._shape = shape
        self._tell = tell
        self._use(state.Folder(state.root() / shape.name))
        self._launched: launch.Launched | None = None
        self.may_fall_back = False
        """Whether a real control plane that does not come up is replaced by the builtin one."""
        self.logs_to: Path | None = None
        """Where its programs' logs are copied to when it ends."""

    @classmethod
    def attach(cls, name: str, tell: Tell = say_nothing) -> Self:
        """Return a cluster that is up already."""
        folder = state.find(name)
        shape = folder.facts().get("shape")
        if shape is None:
            raise ClusterError(f"cluster {name} is only just coming up; ask again")
        try:
            cluster = cls(Shape.from_json(shape), tell)
        except ClusterError as error:
            raise ClusterError(f"cluster {name}: {error}") from error
        cluster._use(folder)
        return cluster

    def _use(self, folder: state.Folder) -> None:
        self._folder = folder
        self.kubeconfig: Path = folder.kubeconfig
        self.node_kubeconfig: Path = folder.node_kubeconfig
        self._objects: Objects | None = None
        self._prober: ProberClient | None = None
        self._accounts: set[str] = set()

    # ---- up and down ----

    def __enter__(self) -> Self:
        """Bring the cluster up; on failure, nothing is left. It ends with this process."""
        requirements.require(self._shape)
        try:
            self._launched = launch.launch(self._shape, self._tell)
        except ClusterError as error:
            if not self.may_fall_back or self._shape.control_plane is ControlPlane.BUILTIN:
                raise
            self._fall_back(error)
            self._launched = launch.launch(self._shape, self._tell)
        self._use(self._launched.folder)
        return self

    def _fall_back(self, error: ClusterError) -> None:
        """Take the builtin control plane, and say on stderr why the real one is not taken."""
        sys.stderr.write(f"--control-plane auto: builtin, since the real one failed: {error}\n")
        self._shape = dataclasses.replace(self._shape, programs={}, kubernetes="")

    def __exit__(self, *exc: object) -> None:
        """Take it down, unless it was told to stay. ClusterError if it had ended by itself."""
        self.close()
        launched, self._launched = self._launched, None
        if launched is None:
            return
        died = launched.folder.died
        self._keep_logs(launched.folder.logs)
        launched.lifeline.close()
        launch.end(launched.folder, self._tell)
        launched.unshare.wait()
        if died:
            raise ClusterError(f"cluster {self.name} ended by itself: {died}")

    def _keep_logs(self, logs: Path) -> None:
        if self.logs_to is not None:
            with contextlib.suppress(shutil.Error):  # pods and their logs come and go
                shutil.copytree(logs, self.logs_to, dirs_exist_ok=True)

    def stay(self) -> None:
        """Let the cluster live on after this process; ``harness cluster down`` ends it."""
        if self._launched is not None:
            self._launched.detach()
            self._launched = None

    def down(self) -> None:
        """Take it down, whoever brought it up."""
        self.close()
        launch.end(self._folder, self._tell)

    def close(self) -> None:
        """Close connections to the cluster; it stays."""
        if self._objects is not None:
            self._objects.close()
        if self._prober is not None:
            self._prober.close()
        self._objects = self._prober = None

    # ---- what it is ----

    @property
    def folder(self) -> state.Folder:
        """Its folder on the host: logs, sockets, kubeconfigs."""
        return self._folder

    @property
    def control_plane(self) -> str:
        """Which control plane it has, in words for a person."""
        match self._shape.control_plane:
            case ControlPlane.BUILTIN:
                return "builtin"
            case ControlPlane.REAL:
                return f"real (Kubernetes {self._shape.kubernetes})"

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes in the order of their names."""
        return tuple(
            NodeInfo(
                node.name,
                str(node.address),
                tuple(map(str, node.pod_networks)),
                tuple(map(str, node.host.addresses)),
            )
            for node in self._shape.plan()
        )

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that make this cluster what it is."""
        plane = self._shape.control_plane.value
        return {"cluster": self.kind, "control_plane": plane} | self._shape.describe()

    def progress(self, namespace: str | None = None) -> Mapping[str, Any]:
        """Return what the node agent counts: pods, ready, proxies settled, problems."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            try:
                link.connect(str(self._folder.agent))
                link.sendall(json.dumps({"namespace": namespace}).encode() + b"\n")
                answer: dict[str, Any] = json.loads(link.makefile().readline() or "{}")
            except OSError as error:
                why = self._folder.died or error.strerror
                message = f"cluster {self.name} does not answer, it is gone: {why}"
                raise ClusterError(message) from error
        return answer

    def note(self, **facts: Any) -> None:
        """Write facts about the cluster into its folder, for ``status``."""
        with wire.connect(self._folder.control) as link:
            wire.send(link, {"do": "note", "facts": facts})
            wire.receive(link)

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        """Return a kubeconfig for programs on nodes that run as this ServiceAccount."""
        match self._shape.control_plane:
            case ControlPlane.BUILTIN:
                return self.node_kubeconfig
            case ControlPlane.REAL:
                path = self._folder.node_kubeconfig_of(account)
                if account in self._accounts:
                    return path
                self.objects.apply(manifests_of_account(account, rights), lambda _: None)
                token = self.objects.token(SYSTEM, account)
                ca = Pki(self._folder.pki).ca
                kubeconfig.write(path, kubeconfig.kubeconfig(URL, self.name, ca, {"token": token}))
                self._accounts.add(account)
                return path

    # ---- objects ----

    @property
    def objects(self) -> Objects:
        """The API server's objects, through the official client."""
        if self._objects is None:
            own = self._folder.harness_kubeconfig
            self._objects = Objects(own if own.exists() else self.kubeconfig)
        return self._objects

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create the objects, or replace those that exist, as the official client would."""
        wanted = list(manifests)
        self.objects.apply(wanted, self._counter("objects created", len(wanted)))

    def delete(self, manifests: Iterable[Manifest]) -> None:
        """Delete the objects; those that are gone already are fine."""
        wanted = list(manifests)
        self.objects.delete(wanted, self._counter("objects deleted", len(wanted)))

    def _counter(self, step: str, of: int) -> Callable[[int], None]:
        return lambda done: self._tell(step, done, of)

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Return when every pod (of a namespace) is Ready and its Services reach it."""
        scope = "" if namespace is None else f"/namespaces/{namespace}"
        pods = newest(self.objects.get(f"/api/v1{scope}/pods")["items"])
        services = newest(self.objects.get(f"/api/v1{scope}/services")["items"])
        deadline = time.monotonic() + timeout
        while True:
            seen = self.progress(namespace)
            self._tell("pods ready", seen["ready"], seen["pods"])
            if seen["problems"]:
                raise ClusterError("pods cannot start: " + "; ".join(seen["problems"]))
            listed = seen["pods_version"] >= pods and seen["services_version"] >= services
            if listed and seen["ready"] == seen["pods"] and seen["proxies_settled"]:
                return
            if time.monotonic() > deadline:
                raise ClusterError(_why_not_ready(seen, timeout))
            time.sleep(_POLL_SECONDS)

    # ---- packets and programs ----

    @property
    def prober(self) -> ProberClient:
        """The prober; its echo servers take a namespace name (see :meth:`netns`)."""
        if self._prober is None:
            self._prober = ProberClient(self._folder.prober)
        return self._prober

    def netns(self, place: Place) -> str:
        """Return the name of the network namespace of a place, as ``/run/netns`` has it there."""
        match place:
            case PodRef(namespace, name):
                return namespace_of_pod(namespace, name)
            case NodeRef(name):
                return namespace_of_node(name)
            case OutsideRef():
                return OUTSIDE_NAMESPACE
        assert_never(place)

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``."""
        return self.prober.probe(map(self._attempt, probes), timeout)

    def _attempt(self, probe: Probe) -> Attempt:
        source = probe.source.address if isinstance(probe.source, OutsideRef) else None
        netns = self.netns(probe.source)
        return Attempt(netns, source, probe.address, probe.port, probe.protocol)

    def unsupported(self) -> Mapping[str, str]:
        """Say which transports cannot be probed here, each with the reason."""
        return unsupported()

    def hold(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Held]:
        """Open connections that stay, all at once; connection ``i`` belongs to probe ``i``."""
        seen = self.prober.hold(map(self._attempt, probes), timeout)
        return [
            Held(probe, outcome, key) for probe, (outcome, key) in zip(probes, seen, strict=True)
        ]

    def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
        """Ask held connections whether they still carry bytes in both directions."""
        return self.prober.ask([one.key for one in held], timeout)

    def release(self, held: Sequence[Held]) -> None:
        """Close held connections. Idempotent."""
        self.prober.release([one.key for one in held])

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove those whose value is None."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self.objects.patch(path, {"metadata": {"annotations": dict(changes)}})

    def serve(self, place: Place, port: int, protocol: str = Transport.TCP) -> None:
        """Have an echo server listen at a place, at every address that it has; until the end."""
        if isinstance(place, OutsideRef):
            addresses = [place.address]
        else:
            versions = {4, *self._shape.ip_family.versions}
            addresses = [_EVERYWHERE[version] for version in sorted(versions)]
        for address in addresses:
            self.prober.serve(self.netns(place), address, port, protocol)

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command inside a place and wait for it; no shell."""
        return process.captured(self._folder.control, self._run(place, argv), timeout)

    def attach_to(self, place: Place, argv: Sequence[str]) -> int:
        """Run a command inside a place on this process's own terminal; return its exit code."""
        run = self._run(place, argv)
        return process.attached(self._folder.control, run, (0, 1, 2), None)

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program inside a place, its output appended to ``log``.

        It ends with the cluster at the latest.
        """
        return process.RemoteProcess(self._folder.control, self._run(place, argv, log, env))

    def _run(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> wire.Run:
        directory = "/"
        with contextlib.suppress(FileNotFoundError):
            directory = os.getcwd()  # noqa: PTH109  # Path.cwd() says no more
        return wire.Run(
            self.netns(place),
            tuple(argv),
            process.environment(env),
            "" if log is None else str(log.absolute()),
            directory,
        )


def _why_not_ready(seen: Mapping[str, Any], timeout: float) -> str:
    reasons = [f"{seen['ready']} of {seen['pods']} pods are Ready after {timeout:g} s"]
    if seen["unscheduled"]:
        reasons.append(f"{seen['unscheduled']} have no node (is there room? see --pods-per-node)")
    if seen["ending"]:
        reasons.append(f"{seen['ending']} are being deleted")
    if not seen["proxies_settled"]:
        reasons.append("the service proxies are not in sync; see logs/agent.log")
    return "; ".join(reasons)
