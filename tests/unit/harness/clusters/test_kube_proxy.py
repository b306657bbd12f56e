"""When kube-proxy has done what there is to do, by its metrics and by the EndpointSlices."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.embedded.api import Event
from harness.clusters.embedded.kubeproxy import Slices
from harness.clusters.kube.proxies import is_idle

METRICS = """\
# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_timestamp_seconds{{ip_family="IPv4"}} {synced}
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{{ip_family="IPv4"}} {queued}
kubeproxy_sync_proxy_rules_endpoint_changes_pending{{ip_family="IPv4"}} {pending}
kubeproxy_sync_proxy_rules_service_changes_pending{{ip_family="IPv4"}} 0
"""


@pytest.mark.parametrize(
    ("synced", "queued", "pending", "idle"),
    [
        ("1.7e+09", "1.6e+09", "0", True),
        ("1.7e+09", "1.8e+09", "0", False),
        ("1.7e+09", "1.6e+09", "2", False),
        ("0", "0", "0", False),
    ],
)
def test_idle_is_synced_with_nothing_queued_or_pending(
    synced: str, queued: str, pending: str, *, idle: bool
) -> None:
    """A kube-proxy that has never synced is not idle either."""
    assert is_idle(METRICS.format(synced=synced, queued=queued, pending=pending)) is idle


def test_no_metrics_are_no_sign() -> None:
    """One that does not tell is not taken for done."""
    assert not is_idle("")


def test_slices_of_a_service_add_up() -> None:
    """Only ready endpoints count, and a slice that goes takes its own along."""
    slices = Slices()

    def note(kind: str, uid: str, *endpoints: tuple[str, bool]) -> None:
        item: dict[str, Any] = {
            "metadata": {
                "uid": uid,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "endpoints": [{"addresses": [a], "conditions": {"ready": r}} for a, r in endpoints],
        }
        slices.observe(Event(kind, item))

    note("ADDED", "1", ("10.0.0.1", True), ("10.0.0.2", False))
    note("ADDED", "2", ("10.0.0.3", True))
    assert slices.by_service() == {"default/web": {"10.0.0.1", "10.0.0.3"}}

    note("DELETED", "2")
    assert slices.by_service() == {"default/web": {"10.0.0.1"}}
