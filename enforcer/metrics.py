"""What the daemon counts, for Prometheus (https://prometheus.io/docs/practices/naming/).

Every metric is declared here, with its help text; label values come from fixed sets only.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from enforcer.model.net import Direction
from enforcer.wiring import Step

UNENFORCED_KINDS = ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy")

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The daemon's metrics in a registry of their own, so that two daemons can share a process."""

    def __init__(self) -> None:
        """Declare every metric."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._declare_latencies()
        self._declare_state()
        self._declare_incidents()

    def _declare_latencies(self) -> None:
        self.event_to_kernel = Histogram(
            "enforcer_event_to_kernel_seconds",
            "From the arrival of the oldest event of a batch to the kernel's acceptance.",
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self.sync_duration = Histogram(
            "enforcer_sync_seconds",
            "Duration of one sync: compile, lower, compare, apply.",
            buckets=_LATENCIES,
            registry=self.registry,
        )

    def _declare_state(self) -> None:
        self.ready = self._gauge(
            "enforcer_ready", "1 when in sync, proved and told of changes, else 0."
        )
        self.last_sync = self._gauge(
            "enforcer_last_sync_timestamp_seconds",
            "Unix time of the last sync that succeeded.",
        )
        self.cluster_objects = Gauge(
            "enforcer_cluster_objects",
            "Objects of the cluster that the daemon knows.",
            ("kind",),
            registry=self.registry,
        )
        self.local_pods = self._gauge("enforcer_local_pods", "Pods of this node with an address.")
        self.classes = Gauge(
            "enforcer_policy_classes",
            "Distinct sets of policies among the local pods.",
            ("direction",),
            registry=self.registry,
        )
        self.elements = self._gauge(
            "enforcer_set_elements", "Elements of our sets and maps in the kernel."
        )
        self.same_node_proved = self._gauge(
            "enforcer_same_node_proved",
            "1 when packets between pods of this node are proved to meet our rules, else 0.",
        )
        self.same_node = Gauge(
            "enforcer_same_node",
            "Interfaces that lead to pods (a pod's own, or a bridge), by what makes packets "
            "between pods of this node meet our rules: routed, nf-call, turn; none: not proved.",
            ("step",),
            registry=self.registry,
        )
        self.count_steps({})
        self.watch_silence = Gauge(
            "enforcer_watch_silence_seconds",
            "Since anything was heard of a kind: a list, an event or a bookmark (one a minute).",
            ("kind",),
            registry=self.registry,
        )
        self.problems = self._gauge(
            "enforcer_policy_problems",
            "Objects that could not be understood; their pods are denied.",
        )
        self.unenforced = Gauge(
            "enforcer_unenforced_policies",
            "Policies of kinds that this program does not enforce.",
            ("kind",),
            registry=self.registry,
        )
        self.count_unenforced({})
        self.unknown_pods_denied = self._gauge(
            "enforcer_unknown_pods_denied",
            "1 when addresses of pods that are not known yet are denied, else 0.",
        )
        self.epoch = Gauge(
            "enforcer_epoch",
            "Epoch that live connections of a family are stamped with.",
            ("family",),
            registry=self.registry,
        )

    def count_steps(self, interfaces: Mapping[Step, int]) -> None:
        """Set the number of interfaces on each step of the same-node ladder."""
        for step in Step:
            self.same_node.labels(step.value).set(interfaces.get(step, 0))

    def count_unenforced(self, kinds: Mapping[str, int]) -> None:
        """Set the number of policies of each kind that is not enforced."""
        for kind in UNENFORCED_KINDS:
            self.unenforced.labels(kind).set(kinds.get(kind, 0))

    def _declare_incidents(self) -> None:
        self.epoch_changes = Counter(
            "enforcer_epoch_changes",
            "Changes after which every live connection of a family was judged again.",
            ("family",),
            registry=self.registry,
        )
        self.repairs = self._counter(
            "enforcer_repairs",
            "Times that the kernel was found changed by another program and was put right.",
        )
        self.failures = self._counter(
            "enforcer_sync_failures",
            "Syncs that the kernel refused; each is retried with the truth read again.",
        )

        self.deny_log_lost = self._counter(
            "enforcer_deny_log_lost",
            "Times that denied packets were left out of the deny log: too many at once.",
        )
        self._declare_denials()

    def _declare_denials(self) -> None:
        self.denied = Counter(
            "enforcer_denied_packets",
            "Packets that no policy of an isolated pod allows, read from the kernel at a scrape.",
            ("direction",),
            registry=self.registry,
        )
        self.dropped = Counter(
            "enforcer_dropped_packets",
            "Packets dropped before any policy was asked: of unknown pods, with a forged source, "
            "and others. Read from the kernel at each scrape.",
            ("reason",),
            registry=self.registry,
        )
        for direction in Direction:
            self.denied.labels(direction.value)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)
