from __future__ import annotations

from pathlib import Path

import pytest

from harness.lab import report, rules, study, summary
from harness.lab.cells import Cell, Kind, chosen, default_cells
from harness.lab.loads import Load
from harness.lab.study import Row
from harness.results import RunFolder

NEW, FIRST = Load.NEW, Load.FIRST


def row(guest: int, cell: str, rate: float, points: int = 1, error: str = "") -> Row:
    """Return a rate of new connections."""
    return Row(guest, cell, 0, points, NEW, 800, rate, error)


def packet(guest: int, cell: str, instructions: int) -> Row:
    """Return the rate of first packets of so many instructions."""
    return Row(guest, cell, 0, 1, FIRST, 150, 1e9 / instructions)


def test_a_cell_is_compared_with_the_baseline_of_its_own_guest() -> None:
    """Guests may differ; the change is the mean of each guest's own comparison."""
    rows = [row(1, "none", 1000), row(1, "x", 900), row(2, "none", 2000), row(2, "x", 1800)]

    line = summary.lines(rows)[1]

    assert line.costs[NEW].change == pytest.approx(-0.1)
    assert line.costs[NEW].spread == pytest.approx(0)


def test_a_guest_that_disagrees_shows_as_spread() -> None:
    """The error of a figure is what the guests disagree about."""
    rows = [row(1, "none", 1000), row(1, "x", 900), row(2, "none", 1000), row(2, "x", 990)]

    assert summary.lines(rows)[1].costs[NEW].spread == pytest.approx(0.0477, abs=1e-4)


def test_two_points_are_compared_with_two_nodes_without_enforcement() -> None:
    """A longer way costs by itself; that is no cost of the rules."""
    rows = [
        *(row(1, "none", 1000), row(1, "none, two points", 500, 2)),
        row(1, "x, two points", 450, 2),
    ]

    assert summary.lines(rows)[2].costs[NEW].change == pytest.approx(-0.1)


def test_instructions_are_nanoseconds_of_the_guest() -> None:
    """1,000 requests a second are a million instructions each."""
    rows = [row(1, "none", 1000), row(1, "x", 500)]

    assert summary.lines(rows)[1].costs[NEW].instructions == pytest.approx(1_000_000)


def test_packets_are_told_in_instructions(tmp_path: Path) -> None:
    """A packet's cost is the mean of the guests, with half of what they disagree about."""
    folder = _folder(tmp_path)
    rows = [packet(1, "none", 10000), packet(1, "bundled, 80 pods", 12500)]
    rows += [packet(2, "none", 10010), packet(2, "bundled, 80 pods", 12550)]
    study.write(folder, rows)

    report.write(folder)

    said = (tmp_path / "report.md").read_text()
    assert "| bundled, 80 pods | - | - | - | - | 2520 ± 20 | - |" in said
    assert "its packets by 30 instructions" in said


def test_a_cell_that_could_not_be_measured_says_why_and_has_no_figure() -> None:
    """A failure stays visible in the table."""
    rows = [row(1, "none", 1000), row(1, "x", 0, error="nft: no such file")]

    line = summary.lines(rows)[1]

    assert (line.costs, line.problem) == ({}, "nft: no such file")


def test_rows_come_back_as_they_were_stored(tmp_path: Path) -> None:
    """cells.csv is read as it was written, names with commas and errors with quotes included."""
    folder = _folder(tmp_path)
    rows = [row(1, "bundled, 80 pods", 1234.5), row(2, "x", 0, error="it said 'no'")]
    study.write(folder, rows)

    assert study.read(folder) == rows


def test_the_report_has_a_line_for_each_cell(tmp_path: Path) -> None:
    """Both reports are made of what is stored alone."""
    folder = _folder(tmp_path)
    study.write(folder, [row(1, "none", 1000), row(1, "bundled, 80 pods", 975)])

    page = report.write(folder)

    assert "bundled, 80 pods" in page.read_text()
    assert "−2.5% ± 0.0%" in (tmp_path / "report.md").read_text()  # noqa: RUF001


def test_a_whole_table_takes_the_studys_cost_apart(tmp_path: Path) -> None:
    """Rules, iptables variant and enforcement points each have their figure, with ours beside."""
    folder = _folder(tmp_path)
    kinds = (Kind.MODEL_LEGACY, Kind.MODEL_NFT, Kind.BUNDLED)
    cells = [Cell(Kind.NONE, 0, points) for points in (1, 2)]
    cells += [Cell(kind, 80, points) for kind in kinds for points in (1, 2)]
    rates = (1000, 1000, 860, 790, 720, 610, 975, 950)
    measured = zip(cells, rates, strict=True)
    study.write(folder, [row(1, cell.name, rate, cell.points) for cell, rate in measured])

    report.write(folder)

    said = (tmp_path / "report.md").read_text()
    assert "−14.0% through one enforcement point and −21.0% through two" in said  # noqa: RUF001
    assert "−28.0% and −39.0% with iptables-nft; the bundled enforcer's −2.5% and −5.0%" in said  # noqa: RUF001


def test_every_cell_has_a_name_of_its_own() -> None:
    """Rates are stored by the cell's name."""
    names = [cell.name for cell in default_cells()]

    assert len(set(names)) == len(names)


def test_chosen_cells_bring_their_baselines() -> None:
    """Whoever asks for cells by name gets what they are compared with, and nothing else."""
    found = chosen(default_cells(), ["legacy, 80 pods, two"])

    assert found == (Cell(Kind.NONE, points=2), Cell(Kind.MODEL_LEGACY, 80, 2))


def _folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    settings = {"kernel": "6.1", "requests_new": 800, "requests_kept": 1600, "packets": 150}
    folder.write_json(
        "run.json",
        {
            "schema": 1,
            "started": "now",
            "status": "passed",
            "commit": "abc",
            "command": ["harness", "lab"],
            "settings": settings,
        },
    )
    return folder


def test_peers_differ_between_cells_in_number_only() -> None:
    """What is to be flat is compared like with like: the same rules, however many ask them."""
    few, many = (
        rules.bundled("a", size, "14.215.0.0/16", fast=False, peers=True) for size in (5, 50)
    )

    assert _rules_of(few) == _rules_of(many)
    assert few != many


def _rules_of(program: str) -> list[str]:
    return [line for line in program.splitlines() if line.startswith("add rule")]
