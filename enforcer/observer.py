"""What the daemon tells the world about its syncs: log lines, metrics, readiness."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Sized
from functools import partial

from enforcer.errors import KernelError
from enforcer.health import Health
from enforcer.metrics import Metrics
from enforcer.model.changes import Kind
from enforcer.model.net import Direction
from enforcer.node import Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy, Problem
from enforcer.ruleset.epoch import Epochs
from enforcer.ruleset.options import UnknownPods
from enforcer.settings import Settings

logger = logging.getLogger(__name__)

FOLLOW_PATIENCE = 60.0
"""Seconds without a watch of a kind after which the node does not call itself ready. A rolling
restart of the control plane is shorter; without the right to watch there never is one."""


class Observer:
    """Turns what happened into log lines, metrics and reasons for not being ready."""

    def __init__(self, health: Health, metrics: Metrics, settings: Settings) -> None:
        """Tell ``health`` and ``metrics``; ``settings`` say what was asked for."""
        self._health = health
        self._metrics = metrics
        self._patience = settings.cache_sync_timeout
        self._denies_unknown = settings.unknown_pods is UnknownPods.DENY
        self._unprotected = False
        self._started = time.monotonic()
        self._heard = dict.fromkeys(Kind, self._started)
        for kind in Kind:
            metrics.watch_silence.labels(kind.value).set_function(partial(self._silence, kind))
        self._unfollowed: dict[Kind, tuple[float, str]] = {}
        health.unfollowed = self._not_followed
        metrics.ready.set_function(lambda: health.ready)
        self._complained = False
        self._problems: frozenset[Problem] = frozenset()
        self._unproved: tuple[str, ...] = ()
        self._epochs: Epochs = {}

    def waiting_for(self, kinds: Collection[Kind]) -> None:
        """Note that nothing is applied yet, as these kinds have not been listed."""
        self._set_waiting([f"the list of {kind.value}" for kind in kinds])
        if self._complained or time.monotonic() - self._started < self._patience:
            return
        self._complained = True
        names = ", ".join(kind.value for kind in kinds)
        logger.error(
            "still no list of %s after %.0f s; the rules of the run before stay in force. "
            "Is the API server reachable, and may this ServiceAccount list and watch them?",
            names,
            self._patience,
        )

    def heard(self, kind: Kind) -> None:
        """Note that the API server has told something of a kind."""
        self._heard[kind] = time.monotonic()

    def followed(self, kind: Kind, problem: str) -> None:
        """Note why changes of a kind are not followed now, or (empty) that they are."""
        since, _ = self._unfollowed.pop(kind, (time.monotonic(), ""))
        if problem:
            self._unfollowed[kind] = since, problem

    def _not_followed(self) -> list[str]:
        now = time.monotonic()
        return [
            f"a watch of {kind.value}, for {now - since:.0f} s now: {problem}"
            for kind, (since, problem) in self._unfollowed.items()
            if now - since >= FOLLOW_PATIENCE
        ]

    def _silence(self, kind: Kind) -> float:
        return time.monotonic() - self._heard[kind]

    def failed(self, error: KernelError) -> None:
        """Note that the kernel refused a sync."""
        self._metrics.failures.inc()
        self._set_waiting(["a sync that the kernel accepts"])
        logger.error("%s; the rules before it stay in force, trying again", error)

    def synced(self, cluster: Cluster, compiled: CompiledPolicy, synced: Synced) -> None:
        """Note that the kernel holds what ``compiled`` says."""
        self._count(cluster, compiled)
        self._note_epochs(synced.epochs)
        self._metrics.last_sync.set_to_current_time()
        if synced.repaired:
            self._metrics.repairs.inc()
        self._name_problems(frozenset(compiled.problems))
        self._name_unproved(synced.problems)
        self._metrics.count_steps(synced.steps)
        self._name_unprotected(compiled)
        absent = [] if compiled.node in cluster.nodes else [f"the Node {compiled.node}"]
        self._set_waiting([*absent, *synced.problems])
        if synced.transactions:
            logger.info(
                "in sync: %d transactions for %d pods", synced.transactions, len(compiled.pods)
            )

    def timed(self, started: float, since: float) -> None:
        """Note a sync's begin and the arrival of its oldest event (monotonic, seconds)."""
        now = time.monotonic()
        self._metrics.sync_duration.observe(now - started)
        self._metrics.event_to_kernel.observe(now - since)

    def _set_waiting(self, reasons: list[str]) -> None:
        if not reasons and self._health.waiting_for:
            logger.info("ready")
        self._health.waiting_for = reasons

    def _count(self, cluster: Cluster, compiled: CompiledPolicy) -> None:
        kinds: dict[Kind, Sized] = {
            Kind.PODS: cluster.pods,
            Kind.NAMESPACES: cluster.namespaces,
            Kind.NODES: cluster.nodes,
            Kind.POLICIES: cluster.policies,
        }
        for kind, objects in kinds.items():
            self._metrics.cluster_objects.labels(kind.value).set(len(objects))
        self._metrics.local_pods.set(len(compiled.pods))
        self._metrics.problems.set(len(compiled.problems))
        by_direction = Counter(item.direction for item in compiled.classes())
        for direction in Direction:
            self._metrics.classes.labels(direction.value).set(by_direction[direction])

    def _note_epochs(self, epochs: Epochs) -> None:
        for family, epoch in epochs.items():
            self._metrics.epoch.labels(family.name.lower()).set(epoch)
            if epoch != self._epochs.get(family, epoch):
                self._metrics.epoch_changes.labels(family.name.lower()).inc()
        self._epochs = epochs

    def _name_problems(self, problems: frozenset[Problem]) -> None:
        for problem in sorted(problems - self._problems, key=lambda item: item.subject):
            logger.error("%s %s: %s", problem.kind.value, problem.subject, problem.message)
        for problem in sorted(self._problems - problems, key=lambda item: item.subject):
            logger.info("%s %s: understood now, or gone", problem.kind.value, problem.subject)
        self._problems = problems

    def _name_unproved(self, problems: tuple[str, ...]) -> None:
        self._metrics.same_node_proved.set(not problems)
        for problem in set(problems) - set(self._unproved):
            logger.error("enforcement on this node is not proved: %s", problem)
        self._unproved = problems

    def _name_unprotected(self, compiled: CompiledPolicy) -> None:
        """Say when pods that start are known by their interfaces only."""
        self._metrics.unknown_pods_denied.set(self._denies_unknown)
        unprotected = self._denies_unknown and not compiled.pod_networks
        if unprotected and not self._unprotected:
            logger.warning(
                "the Node %s has no spec.podCIDRs, its CNI plugin does not use them, or another "
                "Node has them too: a pod that starts is denied if the name of its interface is "
                "one of --pod-interfaces, else open until there is a route to it",
                compiled.node,
            )
        self._unprotected = unprotected
