"""What is stored, and what is made of it: table, groups of failures, picture."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from msgspec.structs import replace
from rich.console import Console

from harness.matrix.axes import Placement, State
from harness.matrix.engine import Lab
from harness.matrix.looks import BLOCKED, DROPPED, LEAKED, OPEN, Box, look_of, merged
from harness.matrix.model import Expected
from harness.matrix.overview import DARK, LIGHT, Picture, draw_all
from harness.matrix.pairs import cover
from harness.matrix.profiles import Profile
from harness.matrix.record import (
    SCHEMA,
    CellView,
    EnvironmentRecord,
    GroupRecord,
    MatrixRecord,
    json_schema,
    load_record,
    to_text,
)
from harness.matrix.recording import Recorder, record_cases
from harness.matrix.scenario import Scenario
from harness.matrix.summary import LINES, print_summary
from harness.matrix.table import Answer, Result, answer, failures, grouped, results
from harness.matrix.tally import Tally, seen_of


@pytest.fixture(scope="module")
def leaky(study: Scenario) -> Callable[[Callable[[Any], Lab], Any], MatrixRecord]:
    """Return a maker of the record of an enforcer that misses pods of one node."""
    made: list[MatrixRecord] = []

    def make(make_lab: Callable[[Any], Lab], fake_cluster: Any) -> MatrixRecord:
        if not made:
            lab = make_lab(fake_cluster(lambda p: p.allowed or p.near))
            recorder = Recorder()
            for case in study.cases:
                if case.id != "NP-BOTH-01":
                    recorder.add(lab.run(case))
            record = MatrixRecord(
                schema=SCHEMA,
                enforcer={"name": "fake"},
                profile={},
                environments={"fake": EnvironmentRecord("bridged", "nftables", "ipv4")},
                groups=(GroupRecord(study.name, study.title),),
                cases=record_cases(study),
                ends=tuple(recorder.ends),
                layouts=tuple(recorder.layouts),
                reasons=tuple(recorder.reasons),
                steps=tuple(recorder.steps),
            )
            made.append(cover(record, Profile()))
        return made[0]

    return make


@pytest.fixture
def record(leaky: Any, make_lab: Any, fake_cluster: Any) -> MatrixRecord:
    """Return the record of an enforcer that misses pods of one node."""
    made: MatrixRecord = leaky(make_lab, fake_cluster)
    return made


def views(record: MatrixRecord, case: str) -> list[CellView]:
    """Return the cells of a case's only step."""
    (step,) = record.steps_of(case, "fake")
    return list(record.views(step.cells))


def printed(record: MatrixRecord) -> str:
    """Return what a terminal would show."""
    console = Console(file=io.StringIO(), width=160)
    print_summary(console, record)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_stored_and_read_again(record: MatrixRecord, tmp_path: Path) -> None:
    """A stored run says the same when it is read again."""
    path = tmp_path / "matrix.json"
    path.write_text(to_text(record))

    assert record == load_record(path)


def test_other_schemas_are_refused(record: MatrixRecord, tmp_path: Path) -> None:
    """A file of another schema is not read as if it were ours."""
    path = tmp_path / "matrix.json"
    path.write_text(to_text(record).replace(f'"schema": {SCHEMA}', '"schema": 99', 1))

    with pytest.raises(ValueError, match="schema 99"):
        load_record(path)


def test_row_six_is_the_same_node_cells_of_rows_one_to_five(record: MatrixRecord) -> None:
    """The study's table: rows 1 to 5 without their same-node cells pass, row 6 fails."""
    found = {row.id: by_wiring["fake"].result for row, by_wiring in results(record)}

    assert [found[f"NP-STUDY-0{number}"] for number in range(1, 6)] == [Result.PASS] * 5
    assert found["NP-STUDY-06"] is Result.FAIL
    assert found["NP-DOC-05"] is Result.FAIL, "a row of ours keeps its same-node cells"


def test_rows_share_no_cell_and_lose_none(record: MatrixRecord) -> None:
    """A cell that one row takes out of another is counted once: same node, own pod, the rest."""
    rows = {row.id: by_wiring["fake"] for row, by_wiring in results(record)}
    study = [name for name in rows if name.startswith(("NP-STUDY-", "NP-OWN-"))]
    cells = [cell for step in record.steps if step.case in study for cell in step.cells.marks]

    assert sum(rows[name].total for name in study) == len(cells)
    assert rows["NP-OWN-01"].result is Result.PASS
    assert rows["NP-OWN-01"].total > 0


def test_counting_is_the_sum_of_the_cells(record: MatrixRecord) -> None:
    """What pictures and reports count in one go is what cell after cell would come to."""
    first = record.steps[0]
    started = replace(
        first, state=State.AT_START, started=("nsa/a1", "nsb/b1"), established=first.cells
    )
    tally = Tally(record)

    for step in (*record.steps, started):
        each = Counter(seen_of(state, cell) for state, cell in record.all_views(step))
        assert tally.of(step) == each
    assert {one.state for one in tally.of(started)} == {
        State.NEW, State.AT_START, State.ESTABLISHED
    }  # fmt: skip


def test_time_that_was_waited_is_told_apart_from_what_went_on_behind(record: MatrixRecord) -> None:
    """What the run was held up by adds up; what it takes to make the next lab does not."""
    spent = {"verdicts": 80.0, "waiting": 20.0, "clusters": 50.0, "guard": 9.0}
    environment = replace(record.environments["fake"], spent=spent)
    told = printed(replace(record, environments={"fake": environment}, seconds=100.0))

    assert "time: 100 s; verdicts 80 s, waiting 20 s\n" in told
    assert "making clusters ready: clusters 50 s, guard 9 s\n" in told


def test_rows_that_were_not_run(record: MatrixRecord) -> None:
    """A row that was not run is neither a Pass nor a Fail."""
    found = {row.id: by_wiring["fake"].result for row, by_wiring in results(record)}

    assert found["NP-BOTH-01"] is Result.NOT_RUN


def test_the_studys_own_probes(record: MatrixRecord) -> None:
    """By pod IP between its seven pods, bridged frames that nobody sees give the known figures."""
    pods = {"nsa/a1", "nsa/a2", "nsa/a3", "nsb/b1", "nsb/b2", "default/d1", "default/d2"}
    wrong = {}
    for case in ("NP-STUDY-01", "NP-STUDY-02", "NP-STUDY-05", "NP-STUDY-04", "NP-DOC-05"):
        cells = [
            cell
            for cell in views(record, case)
            if {cell.client, cell.server} <= pods
            and cell.placement is Placement.SAME_NODE
            and cell.kind.value == "pod_ip"
        ]
        assert len(cells) == 54
        wrong[case] = sum(not cell.right for cell in cells)

    assert list(wrong.values()) == [18, 24, 21, 24, 15]


def test_failures_that_differ_in_their_port_are_one_group(record: MatrixRecord) -> None:
    """What failed is told once for all ports."""
    wrong = failures(record)
    groups = grouped(wrong)

    assert len(wrong) == sum(len(group.ports) for group in groups)
    assert len(groups) < len(wrong)
    assert all(group.first.cell.expected is Expected.DENIED for group in groups)


def test_what_is_printed(record: MatrixRecord) -> None:
    """The answer, the study's rows, from, to, expected, observed, in twenty lines at most."""
    text = printed(record)

    for part in ("no", "6 Fail", "nsb/b1 -> nsa/a1", "expected denied", "pairs of axis values"):
        assert part in text
    assert len(text.splitlines()) <= LINES


def texts(record: MatrixRecord) -> str:
    """Return every word of the picture."""
    figure = Picture(record, LIGHT).figure()
    return "\n".join(one.get_text() for one in figure.findobj(Text))


def test_a_partial_run_is_no_yes(record: MatrixRecord) -> None:
    """Where planned cases were not reached, picture and terminal say partial, and how much."""
    good = tuple(step for step in record.steps if set(step.cells.marks) == {"."})
    ran = tuple(dict.fromkeys(step.case for step in good))
    whole = replace(record, steps=good, planned={"fake": ran})
    left = {"fake": (*ran, "NP-BOTH-01"), "other": ran[:1]}
    partial = replace(whole, planned=left)

    assert answer(whole) is Answer.YES
    assert "Yes: all of" in texts(whole)
    assert answer(partial) is Answer.PARTIAL
    words = f"2 of {len(ran) + 2} runs of cases were not reached; nothing ran on 1 of 2 clusters"
    for told in (texts(partial), printed(partial)):
        assert f"partial: {words}" in told
        assert "Yes" not in told
        assert "correct? yes" not in told
    assert "1 not run" in texts(partial)


def test_what_is_unproved_is_not_called_wrong(record: MatrixRecord) -> None:
    """A deny without its positive control is neither right nor wrong, and the picture says so."""
    wrong = len(failures(record))
    steps = tuple(
        replace(
            one,
            cells=replace(one.cells, marks=one.cells.marks.replace("L", "u")),
        )
        for one in record.steps
    )
    unproved = replace(record, steps=steps)

    assert f"No: {wrong:,} wrong of" in texts(record)
    assert f"No: {wrong:,} unproved of" in texts(unproved)
    assert answer(unproved) is Answer.NO


def test_what_is_wrong_is_wrong_however_much_is_left(record: MatrixRecord) -> None:
    """A partial run with a leak says no, and that it is partial."""
    partial = replace(record, planned={"other": ("NP-BOTH-01",)})

    assert answer(partial) is Answer.NO
    assert "No: " in texts(partial)
    assert "partial: " in texts(partial)


def test_looks(record: MatrixRecord) -> None:
    """What is wrong never looks like what is right."""
    cells = views(record, "NP-STUDY-02")
    looks = {look_of(cell) for cell in cells}

    assert {OPEN, DROPPED, LEAKED} == looks
    assert len({look.color for look in (OPEN, DROPPED, LEAKED, BLOCKED)}) == 4
    assert all(cell.right or look_of(cell).strokes for cell in cells)
    assert not any(cell.right and look_of(cell).strokes for cell in cells)


def test_picture_is_drawn_again_the_same(record: MatrixRecord, tmp_path: Path) -> None:
    """Equal runs give equal pictures, PNG and SVG."""
    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        draw_all(record, tmp_path / name)
        drawn.append({one.name: one.read_bytes() for one in (tmp_path / name).iterdir()})

    assert drawn[0] == drawn[1]
    assert {"matrix.svg", "matrix-dark.png", "study.png"} <= drawn[0].keys()
    assert drawn[0]["matrix.svg"].startswith(b"<?xml")
    assert drawn[0]["matrix.png"].startswith(b"\x89PNG")


def test_light_and_dark_are_told_apart_without_colours() -> None:
    """In grey, too, open is lighter than denied, and what is wrong has its own strokes."""

    def grey(color: str) -> float:
        red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    for theme in (LIGHT, DARK):
        assert grey(theme.open) - grey(theme.denied) > 80


def test_the_published_schema_is_the_files() -> None:
    """``docs/matrix.schema.json`` is what the harness writes today."""
    published = Path(__file__).parents[4] / "docs" / "matrix.schema.json"

    assert json.loads(published.read_text()) == json_schema()


def test_boxes_that_touch_are_merged() -> None:
    """Neighbours of one look become one shape, others stay apart."""
    boxes = [Box(0, 0, 1, 1), Box(1, 0, 1, 1), Box(3, 0, 1, 1), Box(1, 1, 1, 1)]

    assert [Box(0, 0, 2, 1), Box(3, 0, 1, 1), Box(1, 1, 1, 1)] == list(merged(boxes))
