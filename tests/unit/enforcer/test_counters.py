"""Denied packets: the kernel's counters become metrics that only grow."""

from __future__ import annotations

import json
from typing import Any

from enforcer.counters import Counters, decode
from enforcer.metrics import Metrics


def rule(chain: str, handle: int, packets: int, comment: str = "") -> dict[str, Any]:
    """Return a rule with a counter as nft lists it."""
    counter = {"counter": {"packets": packets, "bytes": 1}}
    return {"rule": {"chain": chain, "handle": handle, "comment": comment, "expr": [counter]}}


def listing(*rules: dict[str, Any]) -> dict[tuple[str, str, int], int]:
    """Return what is read out of a table with these rules."""
    return decode("inet", json.dumps({"nftables": [{"table": {}}, *rules]}))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return a metric's value."""
    return metrics.registry.get_sample_value(name, labels)


def test_denials_are_counted_by_direction() -> None:
    """Every class's deny chain counts once; the chain behind all of them is not added again."""
    metrics = Metrics()

    Counters(metrics).add(
        listing(
            rule("deny_in_1_a", 1, 3, "denied #1"),
            rule("deny_in_2_b", 2, 4, "denied #1"),
            rule("deny_eg_3_c", 3, 5, "denied #1"),
            rule("deny", 4, 12),
            rule("stamp", 5, 99, "epoch 1 of 0xffff0000 #1"),
        )
    )

    assert value(metrics, "enforcer_denied_packets_total", direction="ingress") == 7
    assert value(metrics, "enforcer_denied_packets_total", direction="egress") == 5


def test_what_is_dropped_unasked_has_a_reason() -> None:
    """Unknown pods, forged sources and the rest, few and fixed."""
    metrics = Metrics()

    Counters(metrics).add(listing(rule("unknown", 1, 2), rule("pickup", 2, 1)))

    assert value(metrics, "enforcer_dropped_packets_total", reason="unknown_pod") == 2
    assert value(metrics, "enforcer_dropped_packets_total", reason="mid_stream") == 1


def test_counters_that_begin_again_never_make_a_metric_smaller() -> None:
    """A rule made anew counts from 0; a class that is gone takes nothing back."""
    metrics = Metrics()
    counters = Counters(metrics)
    counters.add(listing(rule("unknown", 1, 10), rule("deny_in_1_a", 2, 5, "denied #1")))
    counters.add(listing(rule("unknown", 1, 12)))
    counters.add(listing(rule("unknown", 1, 3)))

    assert value(metrics, "enforcer_dropped_packets_total", reason="unknown_pod") == 15
    assert value(metrics, "enforcer_denied_packets_total", direction="ingress") == 5
