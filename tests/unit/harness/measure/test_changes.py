"""Changes at size: what is counted, how it is stored, and where the daemons fit."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import pytest

from harness.clusters.base import Manifest
from harness.measure.changes import churn, kernel, record, run
from harness.measure.changes.kernel import Contents
from harness.measure.changes.record import EventRow, Load, ResourceRow, Setting
from harness.measure.changes.resources import Phase, Taken
from harness.measure.windows.arithmetic import (
    Answer,
    Change,
    Void,
    Window,
    first_reached,
    last_passed,
)
from harness.measure.windows.record import Event
from harness.prober.stream import Flow
from harness.workload.study import Crowd

SETTING = Setting(size=2, pods=42, daemons=2, load=Load.CHURN)


def answers(*ones: tuple[float, bool]) -> list[Answer]:
    """Return answers by time and openness."""
    return [Answer(at, is_open) for at, is_open in ones]


def test_a_pod_is_reached_with_the_first_answer() -> None:
    """The definition ends there, whatever follows."""
    seen = answers((10.01, False), (10.03, False), (10.05, True), (10.07, False))

    found = first_reached(seen, 10.0)

    assert isinstance(found, Window)
    assert (found.last_wrong, found.first_right) == pytest.approx((0.03, 0.05))


def test_a_pod_that_answers_nobody_does_not_count() -> None:
    """Neither as reached nor as closed: it may not have been there."""
    reached = first_reached(answers((10.0, False)), 10.0)

    assert reached is Void.NEVER
    assert last_passed(answers((10.0, False)), 10.0, reached) is Void.NOBODY


def test_a_pod_without_an_address_says_so() -> None:
    """There was nothing to ask, and nobody is to blame for silence."""
    reached = first_reached((), math.nan)

    assert reached is Void.NO_ADDRESS
    assert last_passed((), math.nan, reached) is Void.NO_ADDRESS


def test_a_starting_pod_is_open_to_others_until_the_last_packet_that_passed() -> None:
    """Zero is said only where none ever passed."""
    reached = Window(0.0, 0.01)

    leaked = last_passed(answers((10.0, True), (10.02, True), (10.04, False)), 10.0, reached)
    never = last_passed(answers((10.0, False), (10.02, False)), 10.0, reached)

    assert isinstance(leaked, Window)
    assert (leaked.last_wrong, leaked.first_right) == pytest.approx((0.02, 0.04))
    assert never == Window(0.0, 0.0)


def nft(*items: tuple[str, dict[str, Any]]) -> str:
    """Return a ruleset as nft prints it."""
    own = {"family": "inet", "table": "t"}
    return json.dumps({"nftables": [{"metainfo": {}}, *({k: own | v} for k, v in items)]})


def test_what_an_enforcer_added_is_told_from_what_was_there() -> None:
    """Chains and sets of before count for nothing, even where they have grown."""
    rules = [("rule", {"chain": "old"})] * 3
    before = kernel.of_nft(nft(("chain", {"name": "old"}), ("map", {"name": "services"})))
    now = kernel.of_nft(
        nft(
            ("chain", {"name": "old"}),
            *rules,
            ("map", {"name": "services", "elem": [1, 2]}),
            ("chain", {"name": "new"}),
            ("rule", {"chain": "new"}),
            ("set", {"name": "peers", "elem": ["10.0.0.1", "10.0.0.2"]}),
            ("map", {"name": "verdicts", "elem": [["10.0.0.1", 1]]}),
        )
    )

    assert kernel.added(before, now) == Contents(rules=1, sets=2, elements=3)


def test_rules_of_iptables_legacy_and_sets_of_ipset_count_too() -> None:
    """An enforcer of the older kind keeps its rules there."""
    saved = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j KUBE\n-A KUBE -j DROP\nCOMMIT\n"
    sets = "create KUBE-SRC hash:ip family inet\nadd KUBE-SRC 10.0.0.1\nadd KUBE-SRC 10.0.0.2\n"
    before = kernel.of_iptables("iptables-legacy-save", "*filter\n-A FORWARD -j OTHER\n")

    now = kernel.of_iptables("iptables-legacy-save", saved) | kernel.of_ipset(sets)

    assert kernel.added(before, now) == Contents(rules=1, sets=1, elements=2)


def test_an_event_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also one that does not count, whose times are left empty."""
    change = Change(opens=False, asked=101.0, acknowledged=101.02)
    found = [
        Event("allow → deny", Flow.NEW, change, Window(0.004, 0.008)),
        Event("allow → deny", Flow.ESTABLISHED, change, Void.NEVER),
    ]
    path = tmp_path / record.EVENTS

    for event in found:
        record.append(path, [EventRow.of(SETTING, event, started=100.0)])

    good, void = record.events(path)
    assert (good.at, good.answered_ms, good.milliseconds) == (1.0, 20.0, 8.0)
    assert (good.load, good.flow, good.void) == (Load.CHURN, Flow.NEW, "")
    assert math.isnan(void.first_right_ms)
    assert void.void == Void.NEVER.value


def test_rows_behind_an_empty_file_have_their_header(tmp_path: Path) -> None:
    """A run that was stopped before it had a row is taken up again."""
    path = tmp_path / record.RESOURCES
    record.append(path, [])

    record.append(
        path, [ResourceRow.of(SETTING, Taken(Phase.START, "node-1", 2.0, 0.5, 2**20, None))]
    )

    assert [row.node for row in record.resources(path)] == ["node-1"]


def test_what_a_daemon_took_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What was not counted is not zero."""
    path = tmp_path / record.RESOURCES
    idle = Taken(Phase.IDLE, "node-1", 15.0, 0.25, 2**20, Contents(124, 23, 34))
    start = Taken(Phase.START, "node-1", 2.0, 0.5, 2**20, None)

    record.append(path, [ResourceRow.of(SETTING, taken) for taken in (idle, start)])

    first, second = record.resources(path)
    assert (first.phase, first.rules, first.sets, first.elements) == (Phase.IDLE, 124, 23, 34)
    assert (second.cpu_seconds, second.rules) == (0.5, None)


def test_where_memory_is_short_the_servers_node_alone_has_a_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred daemons beside thousands of pods are run where they fit, and the report says so."""
    nodes = tuple(f"node-{number}" for number in range(100))

    monkeypatch.setattr(run, "available_bytes", lambda: 20 * 2**30)
    assert run.affordable(nodes) == (nodes, "all 100 nodes")
    monkeypatch.setattr(run, "available_bytes", lambda: 8 * 2**30)
    few, why = run.affordable(nodes)
    assert few == ("node-0",)
    assert why.startswith("1 of 100 nodes")


class Replaced:
    """A cluster that notes its pods; they are all Ready at once, or never."""

    def __init__(self) -> None:
        self.pods = {f"interfering-{number:04d}-0" for number in range(4)}
        self.most = 0
        self.enough = threading.Event()

    def apply(self, manifests: Iterable[Manifest]) -> None:
        self.pods |= {each["metadata"]["name"] for each in manifests}
        self.most = max(self.most, len(self.pods))

    def delete(self, manifests: Iterable[Manifest]) -> None:
        self.pods -= {each["metadata"]["name"] for each in manifests}
        if all("again" in name for name in self.pods):
            self.enough.set()


def test_churn_replaces_pods_and_keeps_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones come before the oldest go, on every node, and what was replaced is counted."""
    cluster: Any = Replaced()
    monkeypatch.setattr(churn, "watching", Watching)
    mine = churn.Churn(cluster, Crowd(("node-1", "node-2"), services=4))
    mine.grown(0, 1)

    with mine.going_on() as turnover:
        assert cluster.enough.wait(timeout=60)

    assert turnover.replaced >= 4
    assert len(cluster.pods) == 4
    assert cluster.most == 5


def test_what_a_replacement_fails_with_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A churn that ended by itself is no churn."""
    cluster: Any = Replaced()
    monkeypatch.setattr(churn, "watching", Watching)
    mine = churn.Churn(cluster, Crowd(("node-1",), services=4))
    mine.grown(0, 1)
    refused = threading.Event()

    def refuse(_: object) -> None:
        refused.set()
        raise RuntimeError("refused")

    def replace() -> None:
        with mine.going_on():
            refused.wait(timeout=60)

    monkeypatch.setattr(cluster, "apply", refuse)

    with pytest.raises(RuntimeError, match="refused"):
        replace()


class Watching:
    """Every pod is Ready."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_ready(self, _: object) -> bool:
        return True
