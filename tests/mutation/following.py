"""Mutants that do not follow the cluster: what changed, came, went, or was restarted."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable
from typing import Any

from enforcer.kube import decode
from enforcer.model.changes import Kind, Put, Removed, Replaced
from enforcer.model.objects import Namespace, Pod, Policy
from enforcer.node import NodeTables, Synced
from enforcer.policy import compile as compiling
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import NodeCompiler
from enforcer.policy.compiled import CompiledPolicy, LocalPod
from enforcer.ruleset.names import CURRENT
from tests.mutation.catalogue import mutant, wrap

Function = Callable[..., Any]


def each_change(change: Callable[[Cluster, Any], Any]) -> None:
    """Put another change in place of each one; None takes it away."""

    def around(real: Function) -> Function:
        def apply(self: Cluster, given: Any) -> bool:
            made = change(self, given)
            return False if made is None else bool(real(self, made))

        return apply

    wrap(Cluster, "apply", around)


@mutant(first="NP-CHANGE-003")
def pod_label_change_ignored() -> None:
    """A pod keeps the labels that it had when it was first seen."""

    def change(cluster: Cluster, given: Any) -> Any:
        if isinstance(given, Put) and isinstance(given.item, Pod):
            known = cluster.pods.get(given.item.key)
            if known is not None:
                return Put(dataclasses.replace(given.item, labels=known.labels))
        return given

    each_change(change)


@mutant(first="NP-CHANGE-004")
def selected_once_for_all() -> None:
    """A pod stays under the policies that its labels met when it came; as a peer it is followed."""
    seen: dict[Any, Any] = {}

    def first(real: Function) -> Function:
        def made(self: Any, pod: Pod, *rest: Any) -> None:
            labels = seen.setdefault((pod.key, pod.uid), pod.labels)
            real(self, dataclasses.replace(pod, labels=labels), *rest)
            self.pod = pod

        return made

    wrap(compiling._Member, "__init__", first)


@mutant(first="NP-CHANGE-005")
def namespace_label_change_ignored() -> None:
    """A namespace keeps the labels that it had when it was first seen."""

    def change(cluster: Cluster, given: Any) -> Any:
        known = isinstance(given, Put) and isinstance(given.item, Namespace)
        return None if known and given.item.name in cluster.namespaces else given

    each_change(change)


@mutant(first="NP-CHANGE-001")
def policy_change_ignored() -> None:
    """A policy stays as it was when it was first seen, until it is deleted."""

    def change(cluster: Cluster, given: Any) -> Any:
        known = isinstance(given, Put) and isinstance(given.item, Policy)
        return None if known and given.item.key in cluster.policies else given

    each_change(change)


@mutant(first="NP-ISO-001")
def policy_removal_ignored() -> None:
    """A policy that was deleted stays in force."""
    each_change(lambda _, given: None if _is_removed(given, Kind.POLICIES) else given)


@mutant(first="NP-DEFECT-013")
def stale_address_after_delete() -> None:
    """A pod that was deleted stays a peer with its address."""
    each_change(lambda _, given: None if _is_removed(given, Kind.PODS) else given)


def _is_removed(given: Any, kind: Kind) -> bool:
    return isinstance(given, Removed) and given.kind is kind


@mutant(first="NP-DEFECT-007")
def finished_pods_stay() -> None:
    """A pod that has ended stays a peer with its address."""
    decode._FINISHED = ()  # type: ignore[assignment]  # the seam


@mutant("--unknown-pods=allow", first="NP-CHANGE-016")
def open_at_start() -> None:
    """A pod that starts after the enforcer is isolated by no policy."""
    first: set[Any] = set()

    def change(_: Cluster, given: Any) -> Any:
        if isinstance(given, Replaced) and given.kind is Kind.PODS:
            first.update(one.key for one in given.objects if isinstance(one, Pod))
        return given

    def late(real: Function) -> Function:
        def compile_(self: NodeCompiler) -> CompiledPolicy:
            found: CompiledPolicy = real(self)
            pods = (one if one.key in first else _open(one) for one in found.pods)
            return dataclasses.replace(found, pods=tuple(pods))

        return compile_

    each_change(change)
    wrap(NodeCompiler, "compile", late)


def _open(pod: LocalPod) -> LocalPod:
    return dataclasses.replace(pod, ingress=None, egress=None)


@mutant(first="NP-CHANGE-011")
def open_on_restart() -> None:
    """A restarted enforcer takes its tables away, and loads nothing until something changes."""
    first: list[CompiledPolicy] = []

    def later(real: Function) -> Function:
        def sync(self: NodeTables, compiled: CompiledPolicy) -> Synced:
            if not first:
                first.append(compiled)
                _delete_tables()
            if compiled.pods == first[0].pods:
                return Synced(0, {}, repaired=False, problems=())
            found: Synced = real(self, compiled)
            return found

        return sync

    wrap(NodeTables, "sync", later)
    wrap(NodeTables, "disturbed", lambda _: lambda *_: False)


def _delete_tables() -> None:
    for table in CURRENT:
        argv = ["nft", f"delete table {table}"]
        subprocess.run(argv, check=False, capture_output=True)


@mutant(first="NP-CHANGE-012")
def restart_forgets_connections() -> None:
    """A restarted enforcer has the kernel forget every connection: Services' are cut."""
    done: list[bool] = []

    def forgetting(real: Function) -> Function:
        def sync(self: NodeTables, compiled: CompiledPolicy) -> Synced:
            if not done:
                done.append(True)
                subprocess.run(["conntrack", "-F"], check=False, capture_output=True)
            found: Synced = real(self, compiled)
            return found

        return sync

    wrap(NodeTables, "sync", forgetting)


def late(seconds: float) -> None:
    """Put every change off: not broken, but slow, and to be passed like any sound enforcer."""

    def slow(real: Function) -> Function:
        def sync(self: NodeTables, compiled: CompiledPolicy) -> Synced:
            time.sleep(seconds)
            found: Synced = real(self, compiled)
            return found

        return sync

    wrap(NodeTables, "sync", slow)


@mutant("--existing-connections=keep", first="NP-CHANGE-007")
def established_connections_kept() -> None:
    """Live connections that a change forbids go on, though the profile says that they are cut."""


@mutant("--deny-action=reject", first="NP-ISO-001")
def rejects_what_its_profile_drops() -> None:
    """What is denied is told so, though the profile says that it is dropped."""
