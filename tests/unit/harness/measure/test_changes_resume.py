"""A run of changes that was cut off goes on size by size: whole sizes stay, a torn one goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.measure.changes import record, resume
from harness.measure.changes.record import EventRow, Load, ResourceRow, Setting
from harness.measure.changes.resources import Phase, Taken
from harness.measure.windows.arithmetic import Change, Window
from harness.measure.windows.instrument import FLOOR
from harness.measure.windows.record import Event
from harness.prober.stream import Flow
from harness.results import RunFolder


def cut_off(root: Path, *, whole: tuple[int, ...]) -> RunFolder:
    """Return a run of the sizes 2 and 6 that noted these as done and was killed in a line."""
    folder = RunFolder.create(
        root, cluster="embedded", scenario="changes", command=["harness"], settings={}
    )
    times = Change(opens=True, asked=7.0, acknowledged=7.01)
    for size in (2, 6):
        setting = Setting(size, 20 * size, 2, Load.QUIET)
        event = Event(FLOOR, Flow.NEW, times, Window(0.001, 0.002))
        record.append(folder.path / record.EVENTS, [EventRow.of(setting, event, float(size))])
        taken = Taken(Phase.START, "node-1", 1.0, 0.5, 2**20, None)
        record.append(folder.path / record.RESOURCES, [ResourceRow.of(setting, taken)])
    with (folder.path / record.EVENTS).open("a") as file:
        file.write("6,120,2,qui")
    sizes = [{"size": size, "pods": 20 * size} for size in whole]
    folder.write_json(record.NOTES, {"format": record.FORMAT, "sizes": sizes})
    folder.finish("partial")
    return folder


def test_half_a_line_is_no_event(tmp_path: Path) -> None:
    """The report of a run that was killed is of its whole rows."""
    folder = cut_off(tmp_path, whole=(2,))

    assert [row.size for row in record.events(folder.path / record.EVENTS)] == [2, 6]


def test_what_was_measured_to_its_end_stays(tmp_path: Path) -> None:
    """Rows of the torn size go, to be measured again; times go on behind the last that stays."""
    folder = cut_off(tmp_path, whole=(2,))

    known = resume.earlier(folder)
    resume.mend(folder, known)

    assert known.done == {2}
    assert known.at == 5.0
    assert [row.size for row in record.events(folder.path / record.EVENTS)] == [2]
    assert [row.size for row in record.resources(folder.path / record.RESOURCES)] == [2]


def test_a_run_that_ended_in_its_first_size_begins_anew(tmp_path: Path) -> None:
    """Nothing is kept, and the files can be written on."""
    folder = cut_off(tmp_path, whole=())

    known = resume.earlier(folder)
    resume.mend(folder, known)

    assert known == resume.NOTHING
    assert record.events(folder.path / record.EVENTS) == []


def test_what_is_measured_anew_has_its_header(tmp_path: Path) -> None:
    """Of a run that kept nothing, or had written nothing, the next rows can be read."""
    folder = cut_off(tmp_path, whole=())
    path = folder.path / record.RESOURCES
    path.write_text("")

    resume.mend(folder, resume.earlier(folder))
    taken = Taken(Phase.START, "node-1", 1.0, 0.5, 2**20, None)
    record.append(path, [ResourceRow.of(Setting(2, 40, 2, Load.QUIET), taken)])

    assert [row.size for row in record.resources(path)] == [2]


def test_a_complete_run_is_left_alone(tmp_path: Path) -> None:
    """There is nothing to go on with."""
    folder = cut_off(tmp_path, whole=(2, 6))
    folder.finish("passed")

    with pytest.raises(UsageError, match="complete"):
        resume.earlier(folder)
