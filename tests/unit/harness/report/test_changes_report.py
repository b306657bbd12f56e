"""The report of changes, from stored rows."""

from __future__ import annotations

import math
from pathlib import Path

from harness.measure.changes import record
from harness.measure.changes.kernel import Contents
from harness.measure.changes.record import EventRow, Load, ResourceRow, Setting
from harness.measure.changes.resources import Phase, Taken
from harness.measure.changes.run import STARTED_FLOOR
from harness.measure.windows.arithmetic import Change, Void, Window
from harness.measure.windows.record import Event
from harness.prober.stream import Flow
from harness.report import changes, latencies
from harness.results import RunFolder


def stored(tmp_path: Path, load: float = 0.0) -> RunFolder:
    """Store a run of two sizes; the second has void events. ``load`` is what others used."""
    folder = RunFolder.create(
        tmp_path, cluster="embedded", scenario="changes", command=["harness"], settings={}
    )
    folder.write_json("run.json", folder.read_json("run.json") | {"settings": {"enforcer": "x"}})
    times = Change(opens=True, asked=1.0, acknowledged=1.01)
    for size, beside in ((2, Load.QUIET), (2, Load.CHURN), (6, Load.QUIET), (6, Load.CHURN)):
        setting = Setting(size, 1000 * size, 2, beside)
        for change in latencies.NAMES:
            found: list[Window | Void] = [Window(0.0, 0.0), Window(0.001 * size, 0.002 * size)]
            found += [Void.SILENT] if size == 6 else []
            events = [Event(change, Flow.NEW, times, each) for each in found]
            rows = [EventRow.of(setting, event, 0.0) for event in events]
            record.append(folder.path / record.EVENTS, rows)
        for phase in Phase if beside is Load.QUIET else ():
            held = Contents(124, 23, 3400) if phase is Phase.IDLE else None
            taken = [Taken(phase, node, 10.0, 0.5, 50 * 2**20, held) for node in ("a", "b")]
            resources = [ResourceRow.of(setting, each) for each in taken]
            record.append(folder.path / record.RESOURCES, resources)
    sizes = [
        {"size": size, "pods": 1000 * size, "daemons": "all 2 nodes", "replaced_per_second": rate}
        for size, rate in ((2, 9.5), (6, 3.5))
    ]
    folder.write_json(record.NOTES, {"sizes": [each | {"others_load": load} for each in sizes]})
    folder.finish("passed")
    return folder


def test_the_first_screen_is_the_answer_at_the_largest_size(tmp_path: Path) -> None:
    """Five sentences: policies, both definitions, starting pods, churn, daemons."""
    story = changes.tell(stored(tmp_path))

    policy, definitions, starts, churn, daemons = story.sentences
    assert "6,000 pods" in policy
    assert "12 ms at 99 %" in policy
    assert "policy creation enforcement latency" in definitions
    assert starts.startswith("Of 4 pods that started while a policy selected them, 2 let")
    assert churn.startswith("While 3.5 pods a second are replaced")
    assert "50 MiB each, 100 MiB in all; in a kernel 124 (248 in all) rules" in daemons


def test_a_busy_machine_is_told_on_the_first_screen(tmp_path: Path) -> None:
    """What others took is no enforcer's doing."""
    *_, last = changes.tell(stored(tmp_path, load=0.9)).sentences

    assert last.startswith("Others used up to 90% of the CPUs")


def test_a_size_that_a_run_only_began_is_not_the_answer(tmp_path: Path) -> None:
    """Where a run was cut off, the first screen is of the largest size with policies applied."""
    folder = stored(tmp_path)
    setting = Setting(8, 8000, 2, Load.QUIET)
    event = Event(STARTED_FLOOR, Flow.NEW, Change(True, 1.0, 1.01), Window(0.0, 0.001))  # noqa: FBT003  # it opens
    record.append(folder.path / record.EVENTS, [EventRow.of(setting, event, 0.0)])

    policy, *_ = changes.tell(folder).sentences

    assert "6,000 pods" in policy


def test_what_does_not_count_is_told_with_its_reason(tmp_path: Path) -> None:
    """Nothing is dropped: its number and reason stand in the table."""
    story = changes.tell(stored(tmp_path))

    reasons = {each.reasons for each in story.latencies if each.first.size == 6}
    assert reasons == {f"1: {Void.SILENT.value}"}


def test_a_pod_that_never_had_an_address_is_told(tmp_path: Path) -> None:
    """An event without an answer is stored and read back; it does not count, and nothing fails."""
    folder = stored(tmp_path)
    never = Event(next(iter(latencies.NAMES)), Flow.NEW, Change(True, 1.0, math.nan), Void.SILENT)  # noqa: FBT003
    row = EventRow.of(Setting(6, 6000, 2, Load.CHURN), never, 0.0)
    record.append(folder.path / record.EVENTS, [row])

    (*_, last) = record.events(folder.path / record.EVENTS)

    assert math.isnan(last.answered_ms)
    assert changes.tell(folder).sentences


def test_both_reports_and_the_figure_are_written(tmp_path: Path) -> None:
    """One page without network, and what a pull request shows."""
    folder = stored(tmp_path)

    html = changes.write(folder).read_text()

    assert html.index("</ol>") < html.index("data:image/svg+xml;base64,")
    assert "http://" not in html
    assert (
        "| 6000 | 2 | quiet | policy applied, denied | new | 2 |"
        in (folder.path / "report.md").read_text()
    )
    assert (folder.path / "figures" / "changes.png").stat().st_size > 0


def test_a_run_that_was_cut_off_before_its_first_event_has_a_report(tmp_path: Path) -> None:
    """It says that nothing was measured."""
    folder = RunFolder.create(
        tmp_path, cluster="embedded", scenario="changes", command=["harness"], settings={}
    )
    settings = {"settings": {"enforcer": "x"}}
    folder.write_json("run.json", folder.read_json("run.json") | settings)

    assert "x: nothing was measured." in changes.write(folder).read_text()
