"""What is stored, and what is made of it: table, groups of failures, picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.clusters.base import Verdict
from harness.matrix.engine import Lab
from harness.matrix.picture import BLOCKED, DROPPED, LEAKED, OPEN, Box, draw, look_of, merged
from harness.matrix.record import (
    SCHEMA,
    MatrixRecord,
    load_record,
    record_cases,
    record_ends,
    record_step,
    to_text,
)
from harness.matrix.scenario import Expected, Placement, Scenario
from harness.matrix.table import (
    Result,
    failures,
    grouped,
    print_failures,
    print_table,
    results,
)


@pytest.fixture(scope="module")
def leaky(study: Scenario) -> Callable[[Callable[[Any], Lab], Any], MatrixRecord]:
    """Return a maker of the record of an enforcer that misses pods of one node."""
    made: list[MatrixRecord] = []

    def make(make_lab: Callable[[Any], Lab], fake_cluster: Any) -> MatrixRecord:
        if not made:
            lab = make_lab(fake_cluster(lambda p: p.allowed or p.near))
            steps = [lab.step(case) for case in study.cases if case.id != "NP-BOTH-01"]
            made.append(
                MatrixRecord(
                    schema=SCHEMA,
                    scenario="study",
                    enforcer={"name": "fake"},
                    wirings={"fake": {"nodes": 2, "cni": "bridged"}},
                    cases=record_cases(study),
                    ends=record_ends(steps[0]),
                    ports=study.workload.ports,
                    steps=tuple(map(record_step, steps)),
                )
            )
        return made[0]

    return make


@pytest.fixture
def record(leaky: Any, make_lab: Any, fake_cluster: Any) -> MatrixRecord:
    """Return the record of an enforcer that misses pods of one node."""
    made: MatrixRecord = leaky(make_lab, fake_cluster)
    return made


def printed(record: MatrixRecord) -> str:
    """Return what a terminal would show."""
    console = Console(file=io.StringIO(), width=160)
    print_table(console, record)
    print_failures(console, record)
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
    cells = [cell for step in record.steps if step.case in study for cell in step.cells]

    assert sum(rows[name].total for name in study) == len(cells)
    assert rows["NP-OWN-01"].result is Result.PASS
    assert rows["NP-OWN-01"].total > 0


def test_rows_that_were_not_run(record: MatrixRecord) -> None:
    """A row that was not run is neither a Pass nor a Fail."""
    found = {row.id: by_wiring["fake"].result for row, by_wiring in results(record)}

    assert found["NP-BOTH-01"] is Result.NOT_RUN


def test_the_studys_own_probes(record: MatrixRecord) -> None:
    """By pod IP between its seven pods, bridged frames that nobody sees give the known figures."""
    pods = {"nsa/a1", "nsa/a2", "nsa/a3", "nsb/b1", "nsb/b2", "default/d1", "default/d2"}
    wrong = {}
    for case in ("NP-STUDY-01", "NP-STUDY-02", "NP-STUDY-05", "NP-STUDY-04", "NP-DOC-05"):
        step = record.step(case, "fake")
        assert step is not None
        cells = [
            cell
            for cell in step.cells
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
    """From, to, expected, observed, the study's result, and the policy that should have decided."""
    text = printed(record)

    for part in (
        "NP-STUDY-06",
        "nsb/b1 -> nsa/a1",
        "expected denied, observed open",
        "isolated for ingress by nsa/npa",
        "not run",
    ):
        assert part in text


def test_looks(record: MatrixRecord) -> None:
    """What is wrong never looks like what is right."""
    step = record.step("NP-STUDY-02", "fake")
    assert step is not None
    looks = {look_of(cell) for cell in step.cells}

    assert {OPEN, DROPPED, LEAKED} == looks
    assert len({look.color for look in (OPEN, DROPPED, LEAKED, BLOCKED)}) == 4
    assert all(cell.right or look_of(cell).strokes for cell in step.cells)
    assert not any(cell.right and look_of(cell).strokes for cell in step.cells)


def test_picture_is_drawn_again_the_same(record: MatrixRecord, tmp_path: Path) -> None:
    """Equal runs give equal pictures, PNG and SVG."""
    first = [path.read_bytes() for path in draw(record, tmp_path, "first")]
    second = [path.read_bytes() for path in draw(record, tmp_path, "second")]

    assert first == second
    assert first[0].startswith(b"<?xml")
    assert first[1].startswith(b"\x89PNG")


def test_boxes_that_touch_are_merged() -> None:
    """Neighbours of one look become one shape, others stay apart."""
    boxes = [Box(0, 0, 1, 1), Box(1, 0, 1, 1), Box(3, 0, 1, 1), Box(1, 1, 1, 1)]

    assert [Box(0, 0, 2, 1), Box(3, 0, 1, 1), Box(1, 1, 1, 1)] == list(merged(boxes))


def test_verdicts_are_stored_by_name(record: MatrixRecord) -> None:
    """The file speaks in the words of the field."""
    text = to_text(record)

    assert f'"observed":"{Verdict.DROPPED.value}"' in text
    assert '"placement":"same_node"' in text
