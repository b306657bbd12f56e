"""Settings of the daemon, field by field, and the flags that fill them.

The daemon takes kube-router's command line as it stands, so that its DaemonSet runs with the
image swapped. A flag that means nothing here is accepted with a warning that says what takes its
place (:data:`REPLACED`); one that asks for something that this program does not do is refused.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from enforcer.errors import SettingsError
from enforcer.model.net import IPNetwork
from enforcer.ruleset.options import (
    POD_INTERFACES,
    AntiSpoofing,
    DenyAction,
    ExistingConnections,
    LowerOptions,
    UnknownPods,
)
from enforcer.wiring import FastPath, SameNode

LOG_GROUP = 100
"""The NFLOG group of the deny log, in this node's network namespace."""


class DenyLogging(enum.Enum):
    """Whether denied connections are logged."""

    ON = "on"
    OFF = "off"


class LogFormat(enum.Enum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Each default says why it is the default."""

    node_name: str
    """The Node object that this daemon enforces for; from NODE_NAME, else no default: a guess
    from the host's name is wrong wherever the two differ, and enforces nothing in silence."""

    kubeconfig: Path | None = None
    """None: the in-cluster service account, as a DaemonSet has it."""

    master: str | None = None
    """URL of the API server in place of the kubeconfig's (kube-router's flag)."""

    health_address: str = "0.0.0.0"  # noqa: S104  # the kubelet probes the node's address
    health_port: int = 20244
    """TCP port of /healthz, /livez, /readyz and /metrics; kube-router's, so its probes fit."""

    mark_mask: int = 0xFFFF0000
    """The bits of the conntrack mark that hold the epoch; the others are never touched. 16 bits:
    a wrap comes late. The upper half: the lower one is where others' marks are."""

    deny_action: DenyAction = DenyAction.DROP
    """Silence is what most enforcers do, and tells a scanner nothing."""

    unknown_pods: UnknownPods = UnknownPods.DENY
    """A pod that starts is never open by accident."""

    existing_connections: ExistingConnections = ExistingConnections.REVOKE
    """Who tightens a policy means the connections that are open, too."""

    pod_interfaces: tuple[str, ...] = POD_INTERFACES
    """Interfaces that lead to pods, by name: on a node whose spec.podCIDRs are missing (the CNI
    plugin hands out addresses by itself) a starting pod is known by its interface."""

    anti_spoofing: AntiSpoofing = AntiSpoofing.STRICT
    """A policy that names peers is worth nothing where anybody can send in their names."""

    forwarding_pods: tuple[str, ...] = ()
    """Pods that send from others' addresses (VPN gateways, virtual machines, direct server
    return), as patterns of namespace/name. By name and not by annotation: who may annotate a pod
    is not always who may let it pretend to be another."""

    same_node: SameNode = SameNode.AUTO
    """How bridges are made to show the packets between their ports. What a kernel can do is found
    out with packets, so that nobody has to know it."""

    fast_path: FastPath = FastPath.OFF
    """``auto`` makes established connections faster than without any enforcement, where the kernel
    has flowtables; a tightened policy takes them back at once. But then no other program's rules
    see their packets either (a CNI's, an administrator's), so it is for who knows to say."""

    cache_sync_timeout: float = 300.0
    """Seconds after which a first list that is still missing is reported as an error. The daemon
    goes on waiting: the rules of the run before it still stand."""

    resync_period: float = 600.0
    """Seconds between two comparisons of the kernel with what it should hold. Changes of the
    cluster act at once; a change of our table by another program is noticed within
    :data:`enforcer.daemon.GENERATION_PERIOD`. This is the safety net below both, and rare: reading
    45,000 elements back costs half a second of a core."""

    deny_log: DenyLogging = DenyLogging.ON
    """A denied connection without a trace costs its owner an afternoon. The kernel limits it to
    ten lines a second for each class of pods."""

    service_cidr: tuple[IPNetwork, ...] = ()
    """The cluster's Service ranges, to warn of policies whose ipBlock overlaps them: the API does
    not tell them, and enforcement does not need them."""

    log_level: str = "info"
    log_format: LogFormat = LogFormat.TEXT

    @property
    def options(self) -> LowerOptions:
        """The choices that shape our tables."""
        return LowerOptions(
            mark_mask=self.mark_mask,
            deny_action=self.deny_action,
            unknown_pods=self.unknown_pods,
            existing=self.existing_connections,
            anti_spoofing=self.anti_spoofing,
            pod_interfaces=self.pod_interfaces,
            log_group=LOG_GROUP if self.deny_log is DenyLogging.ON else None,
        )


REPLACED: Mapping[str, str] = {
    "iptables-sync-period": "changes act at once; --resync-period sets how often the kernel is "
    "compared with what it should hold",
    "ipvs-sync-period": "there is no service proxy here",
    "routes-sync-period": "there is no routing here",
    "run-loadbalancer": "there is no load balancer here",
    "runtime-endpoint": "the container runtime is not asked here",
    "enable-cni": "there is no routing here",
    "enable-overlay": "there is no routing here",
    "enable-pod-egress": "there is no routing here",
    "hairpin-mode": "a pod may always reach itself, through its own Service too",
    "nodeport-bindon-all-ip": "there is no service proxy here",
    "service-cluster-ip-range": "Services are judged by their true backend; --service-cidr warns "
    "of policies whose ipBlock overlaps the range",
    "service-node-port-range": "Services are judged by their true backend; no range is needed",
    "service-external-ip-range": "Services are judged by their true backend; no range is needed",
    "metrics-port": "metrics are served on --health-port",
    "metrics-path": "metrics are served on /metrics",
    "enable-pprof": "there is no profiling endpoint",
    "v": "use --log-level",
}
"""kube-router's flags that mean nothing here, and what takes their place."""

PERIODS = ("iptables-sync-period", "ipvs-sync-period", "routes-sync-period")
"""Those of :data:`REPLACED` that are durations; what is none is a mistake to kube-router, too."""

NOT_DONE: Mapping[str, str] = {
    "run-router": "it enforces NetworkPolicy only; your CNI routes",
    "run-service-proxy": "it enforces NetworkPolicy only; kube-proxy serves Services",
}
"""kube-router's switches for what this program does not do: ``false`` is fine, ``true`` is not."""

_UNITS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


def parse_duration(text: str) -> float:
    """Parse a duration as Go writes it (``5m``, ``1m30s``, ``250ms``) into seconds.

    Raises ``ValueError`` for anything else, a bare number other than 0 included, as Go does:
    https://pkg.go.dev/time#ParseDuration
    """
    if text == "0":
        return 0.0
    parts = list(_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        message = f"{text!r} is no duration; write it like 1s, 5m or 1m30s"
        raise ValueError(message)
    return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)


def check(settings: Settings) -> Settings:
    """Return ``settings`` if they make sense together; else SettingsError with every mistake."""
    mistakes = [
        *_node_name(settings),
        *_mark_mask(settings),
        *_periods(settings),
        *_kubeconfig(settings),
    ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def cautions(settings: Settings) -> list[str]:
    """Return what settings that are allowed leave open together, one sentence each."""
    keeps = settings.existing_connections is ExistingConnections.KEEP
    if keeps and settings.unknown_pods is UnknownPods.ALLOW:
        return [
            (
                "--existing-connections=keep with --unknown-pods=allow: connections that are made "
                "while an address has no known pod pass to the pod that gets it next; leave one of "
                "the two at its default to prevent that"
            )
        ]
    return []


def _node_name(settings: Settings) -> list[str]:
    if settings.node_name:
        return []
    return [
        "--node-name: not set. Give this machine's Node, or set NODE_NAME (fieldRef spec.nodeName)",
    ]


def _mark_mask(settings: Settings) -> list[str]:
    try:
        _ = settings.options
    except SettingsError as error:
        return [f"--mark-mask: {error}"]
    return []


def _periods(settings: Settings) -> list[str]:
    periods = {
        "--cache-sync-timeout": settings.cache_sync_timeout,
        "--resync-period": settings.resync_period,
    }
    return [
        f"{flag}: {seconds:g} s is too short; it has to be more than 0"
        for flag, seconds in periods.items()
        if seconds <= 0
    ]


def _kubeconfig(settings: Settings) -> list[str]:
    if settings.kubeconfig is None or settings.kubeconfig.is_file():
        return []
    return [f"--kubeconfig: {settings.kubeconfig} is no file that can be read"]


def describe(settings: Settings) -> dict[str, str]:
    """Return the settings as text, for the log's first line and for a bug report."""
    return {field.name: _text(getattr(settings, field.name)) for field in fields(settings)}


def _text(value: object) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)
