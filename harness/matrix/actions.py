"""What a step does to the cluster, and how it is undone at the end of its case."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.clusters.base import Cluster, PodAnnotation, PodRef
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError, UsageError
from harness.matrix import manifests
from harness.matrix.model import (
    LabelChange,
    NamespaceSpec,
    PodSpec,
    Restart,
    Retarget,
    StepSpec,
    Workload,
)
from harness.matrix.reading import Api
from harness.matrix.scenario import Scenario, as_v1

Manifest = dict[str, Any]
_FINISHED = ("Succeeded", "Failed")
_PATIENCE = 60.0
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest that the API had to refuse: ``said`` is what it said, ``None`` if it took it."""

    name: str
    said: str | None


@dataclass
class Stage:
    """A cluster on which the steps of one case are done and undone."""

    cluster: Cluster
    enforcer: Enforcer
    scenario: Scenario
    api: Api
    nodes: Sequence[str]
    world: list[Manifest]
    policies: dict[str, Manifest] = field(default_factory=dict)
    """What is in force: as it is written, by ``namespace/name``."""
    finished: set[str] = field(default_factory=set)
    started: dict[str, PodSpec] = field(default_factory=dict)
    created: dict[str, NamespaceSpec] = field(default_factory=dict)
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _gone: set[str] = field(default_factory=set)

    @property
    def workload(self) -> Workload:
        """Return who is there now: without pods that have ended, with those that were started."""
        own = self.scenario.workload
        absent = self.finished | self._gone
        pods = [one for one in (*own.pods, *self.started.values()) if str(one) not in absent]
        return dataclasses.replace(own, pods=tuple(pods))

    def do(self, step: StepSpec) -> tuple[Refusal, ...]:
        """Do what a step says; returns when the API, and pods where any changed, are through."""
        refusals = tuple(self._offer(step))
        self.apply(self.scenario.manifests(step.apply))
        self._delete_policies(step.delete)
        for change in step.label:
            self._label(change)
        self._retarget(step.retarget)
        for pod in step.finish:
            self._finish(pod)
        self._remove(step.remove)
        self._recreate(step.recreate)
        self._create(step.create)
        self._start(step.start)
        if step.restart is Restart.ENFORCER:
            self.enforcer.restart()
            self.enforcer.wait_ready()
        if _touches_objects(step):
            self.world = self.api.world()
        return refusals

    def undo(self) -> bool:
        """Take everything back; returns whether anything but policies had to be."""
        with contextlib.ExitStack() as stack:
            touched = bool(self._undo)
            for undo in self._undo:
                stack.callback(undo)
            stack.callback(self._delete_policies, tuple(self.policies))
            self._undo = []
        if touched:
            self._wait_ready()
            self.world = self.api.world()
        return touched

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Put policies in force."""
        written = list(manifests)
        for one in written:
            meta = one["metadata"]
            self.policies[f"{meta.get('namespace', 'default')}/{meta['name']}"] = one
        if written:
            self.cluster.apply([as_v1(one) for one in written])

    def _delete_policies(self, names: Iterable[str]) -> None:
        gone = [as_v1(self.policies.pop(name)) for name in names]
        if gone:
            self.cluster.delete(gone)

    def _offer(self, step: StepSpec) -> Iterator[Refusal]:
        for ref in step.refuse:
            for manifest in self.scenario.manifests([ref]):
                name = str(manifest.get("metadata", {}).get("name", "?"))
                try:
                    self.cluster.apply([manifest])
                except (ClusterError, UsageError) as error:
                    yield Refusal(name, str(error))
                else:
                    self.apply([manifest])
                    yield Refusal(name, None)

    def _label(self, change: LabelChange) -> None:
        wanted = {key: value or None for key, value in change.set.items()}
        if change.pod is not None:
            namespace, _, name = change.pod.partition("/")
            before = self._labels("Pod", name, namespace)
            self.api.label_pod(namespace, name, wanted)
            back = {key: before.get(key) for key in wanted}
            self._undo.append(lambda: self._label_back(namespace, name, back))
        else:
            name = change.namespace or ""
            before = self._labels("Namespace", name)
            self.api.label_namespace(name, wanted)
            back = {key: before.get(key) for key in wanted}
            self._undo.append(lambda: self.api.label_namespace(name, back))

    def _label_back(self, namespace: str, name: str, labels: dict[str, str | None]) -> None:
        # A pod that was made anew since then has its first labels
        if f"{namespace}/{name}" not in self._gone:
            self.api.label_pod(namespace, name, labels)

    def _retarget(self, changes: Sequence[Retarget]) -> None:
        """Have Services lead to other ports of their pods; their addresses stay."""
        for change in changes:
            spec = self._spec(change.service)
            other = dataclasses.replace(spec, targets=change.targets)
            before, after = (
                manifests.service(one, self.scenario.workload) for one in (spec, other)
            )
            self.cluster.apply([after])
            self._undo.append(lambda one=before: self.cluster.apply([one]))  # type: ignore[misc]
        if changes:
            self._wait_ready()

    def _labels(self, kind: str, name: str, namespace: str | None = None) -> dict[str, str]:
        for one in self.world:
            meta = one["metadata"]
            if (one["kind"], meta["name"], meta.get("namespace")) == (kind, name, namespace):
                return dict(meta.get("labels") or {})
        raise ClusterError(f"there is no {kind} {name} to label")

    def _manifest(self, pod: str) -> Manifest:
        return manifests.pod(self._spec(pod), self.nodes, self.scenario.workload)

    def _spec(self, pod: str) -> PodSpec:
        specs = (*self.scenario.workload.pods, *self.started.values())
        return next(one for one in specs if str(one) == pod)

    def _finish(self, pod: str) -> None:
        """Have a pod end by itself: the kubelet stops it, its object stays, as Failed."""
        namespace, _, name = pod.partition("/")
        self.cluster.annotate(PodRef(namespace, name), {PodAnnotation.EXIT: "1"})
        deadline = time.monotonic() + _PATIENCE
        while self.api.phase_of(*pod.split("/")) not in _FINISHED:
            if time.monotonic() > deadline:
                raise ClusterError(f"pod {pod} did not finish within {_PATIENCE:g} s")
            time.sleep(_PAUSE)
        self.finished.add(pod)
        self._undo.append(lambda: self._make_anew([pod]))

    def _remove(self, pods: Sequence[str]) -> None:
        if pods:
            self._delete_pods(pods)
            self._gone |= set(pods)
            self._undo.append(lambda: self._make_anew(pods))

    def _recreate(self, pods: Sequence[str]) -> None:
        if pods:
            self._make_anew(pods)
            self._wait_ready()

    def _make_anew(self, pods: Sequence[str]) -> None:
        self._delete_pods(pods)
        self.cluster.apply([self._manifest(pod) for pod in pods])
        self.finished -= set(pods)
        self._gone -= set(pods)

    def _create(self, specs: Sequence[NamespaceSpec]) -> None:
        for spec in specs:
            made = [manifests.namespace(spec)]
            self.cluster.apply(made)
            self.created[spec.name] = spec
            self._undo.append(lambda one=spec.name, all_of=made: self._destroy(one, all_of))  # type: ignore[misc]

    def _destroy(self, name: str, made: list[Manifest]) -> None:
        self.cluster.delete(made)
        del self.created[name]

    def _start(self, specs: Sequence[PodSpec]) -> None:
        own = self.scenario.workload
        for spec in specs:
            self.started[str(spec)] = spec
            pod = manifests.pod(spec, self.nodes, own)
            if spec.address_of:
                taken = {PodAnnotation.ADDRESS.value: self._address_of(spec.address_of)}
                pod = pod | {"metadata": pod["metadata"] | {"annotations": taken}}
            made = [pod, manifests.service(spec, own)]
            self.cluster.apply(made)
            self._undo.append(lambda one=spec, all_of=made: self._stop(one, all_of))  # type: ignore[misc]
        if specs:
            self._wait_ready()

    def _address_of(self, pod: str) -> str:
        """Return the address that a pod has, or had: its object says so as long as it is there."""
        namespace, _, name = pod.partition("/")
        for one in self.world:
            meta = one["metadata"]
            if (one["kind"], meta.get("namespace"), meta["name"]) == ("Pod", namespace, name):
                return str(one["status"]["podIP"])
        raise ClusterError(f"pod {pod} was never there")

    def _stop(self, spec: PodSpec, made: list[Manifest]) -> None:
        self.cluster.delete(made[1:])
        self._delete_pods([str(spec)])
        del self.started[str(spec)]

    def _delete_pods(self, pods: Sequence[str]) -> None:
        self.cluster.delete([self._manifest(pod) for pod in pods])
        deadline = time.monotonic() + _PATIENCE
        while {pod for pod in pods if self.api.phase_of(*pod.split("/"))}:
            if time.monotonic() > deadline:
                raise ClusterError(f"pods {', '.join(pods)} did not go within {_PATIENCE:g} s")
            time.sleep(_PAUSE)

    def _wait_ready(self) -> None:
        for namespace in (*self.scenario.workload.namespaces, *self.created.values()):
            self.cluster.wait_ready(namespace.name)


def _touches_objects(step: StepSpec) -> bool:
    moved = step.retarget or step.finish or step.remove or step.recreate or step.start
    return bool(step.label or step.create or moved)
