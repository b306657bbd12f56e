"""Whether a node's kube-proxy has done what there is to do, and whether Services say what is there.

``python -m harness.clusters.kube.proxies`` asks the kube-proxy of the node that it is started on.
https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ (metricsBindAddress)
"""

from __future__ import annotations

import enum
import re
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator

from harness.clusters.base import Manifest
from harness.clusters.kube.whereabouts import is_over
from harness.clusters.pods import is_ready

MODULE = "harness.clusters.kube.proxies"
METRICS = "http://127.0.0.1:10249/metrics"
SERVICE_LABEL = "kubernetes.io/service-name"
_SECONDS = 5.0
_PENDING = re.compile(
    r"^kubeproxy_sync_proxy_rules_(?:endpoint|service)_changes_pending(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
_STAMP = r"^kubeproxy_sync_proxy_rules_last_{}timestamp_seconds(?:\{{[^}}]*\}})? (\S+)$"
_QUEUED = re.compile(_STAMP.format("queued_"), re.MULTILINE)
_SYNCED = re.compile(_STAMP.format(""), re.MULTILINE)


class Proxying(enum.Enum):
    """How far a node's kube-proxy is."""

    IDLE = "idle"
    BUSY = "busy"
    UNKNOWN = "unknown"
    """Nobody answers where kube-proxy tells it: Services are somebody else's."""


def is_idle(metrics: str) -> bool:
    """Whether a kube-proxy's metrics say that it has synced, and that nothing is left to do."""
    synced, queued = _SYNCED.search(metrics), _QUEUED.search(metrics)
    if synced is None or queued is None or float(synced[1]) == 0:
        return False
    pending = sum(float(number) for number in _PENDING.findall(metrics))
    return pending == 0 and float(queued[1]) <= float(synced[1])


def ask() -> Proxying:
    """Ask the kube-proxy of this node."""
    try:
        with urllib.request.urlopen(METRICS, timeout=_SECONDS) as answer:
            return Proxying.IDLE if is_idle(answer.read().decode()) else Proxying.BUSY
    except (OSError, urllib.error.URLError):
        return Proxying.UNKNOWN


def out_of_step(
    services: Iterable[Manifest], pods: Iterable[Manifest], slices: Iterable[Manifest]
) -> Iterator[str]:
    """Yield the Services whose EndpointSlices do not name exactly the ready pods they select."""
    said: defaultdict[str, set[str]] = defaultdict(set)
    for item in slices:
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get(SERVICE_LABEL, "")
        said[f"{meta['namespace']}/{service}"] |= ready_addresses(item)
    ready = [pod for pod in pods if is_ready(pod) and not is_over(pod)]
    for service in services:
        name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        if service["spec"].get("selector") and said[name] != _selected(service, ready):
            yield name


def ready_addresses(item: Manifest) -> set[str]:
    """Return the addresses of an EndpointSlice that traffic goes to; not told means ready."""
    return {
        address
        for endpoint in item.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready", True)
        for address in endpoint["addresses"]
    }


def _selected(service: Manifest, ready: Iterable[Manifest]) -> set[str]:
    wanted = service["spec"]["selector"].items()
    versions = {":" in one for one in service["spec"].get("clusterIPs") or ()}
    return {
        one["ip"]
        for pod in ready
        if pod["metadata"]["namespace"] == service["metadata"]["namespace"]
        and wanted <= (pod["metadata"].get("labels") or {}).items()
        for one in pod["status"].get("podIPs") or ()
        if (":" in one["ip"]) in versions
    }


if __name__ == "__main__":
    sys.stdout.write(ask().value)
