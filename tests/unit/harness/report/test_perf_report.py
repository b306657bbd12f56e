"""The report of a perf run is made of its stored files, however much of it there is."""

from __future__ import annotations

import csv
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from harness.commands.report import command
from harness.load.ab import Connections
from harness.measure import blocks, notes
from harness.measure.blocks import Row
from harness.measure.plan import ELSEWHERE, Arm, Block, Comparison, Design, Leg, make_plan
from harness.report import analysis, evidence, figures, growth, perf, yardstick
from harness.report.parts import in_the_study, parts
from harness.results import RunFolder
from harness.stats import Bounds, Estimate, Word

PNG = b"\x89PNG\r\n\x1a\n"
SEES = {"new": 0.03, "kept": None}
DESIGN = Design(sizes=(2, 8), concurrencies=(1, 16, 64), rounds=6)
ARMS = replace(DESIGN, comparisons=tuple(Comparison))


def leg_row(block: Block, leg: Leg, position: int, rps: float) -> Row:
    """Return what a leg of 1,000 requests at this rate leaves behind."""
    return Row(
        block=block.number,
        cell=str(block.cell),
        size=block.cell.size,
        enforcer=block.trial.enforcer,
        arm=leg.arm,
        placement=block.cell.placement,
        keepalive=block.cell.connections is Connections.KEPT,
        concurrency=block.cell.concurrency,
        requests=1000,
        seconds=1000 / rps,
        cpu_seconds=2000 / rps,
        void=False,
        reason="",
        comparison=block.comparison,
        role=leg.role,
        position=position,
        failed=0,
        rps=rps,
        p50_ms=1.0,
        p99_ms=2.0,
        enforcer_cpu_seconds=0.0,
        stolen_seconds=0.0,
        at=float(block.number),
        raw=f"raw/{block.number:05d}-{position}.txt",
    )


COSTS = {Arm.BARE: -0.02, Arm.OFF: 0.0, Arm.IDLE: 0.01, Arm.RULES: 0.05}
"""Share of the rate that each arm but ``on`` costs."""


def measured(cost: float, noise: float = 0.03, design: Design = DESIGN) -> list[Row]:
    """Return the rows of a run in which ``on`` costs this share of the rate."""
    coin = random.Random(5)
    rows = []
    for block in make_plan(design, seed=1).blocks:
        for position, leg in enumerate(block.legs, start=1):
            rate = 1000 * block.cell.concurrency**0.3 * math.exp(coin.gauss(0, noise))
            rate *= 1 - COSTS.get(leg.arm, cost)
            rows.append(leg_row(block, leg, position, rate))
    return rows


def stored(root: Path, rows: list[Row], status: str = "passed") -> RunFolder:
    """Return the folder of a run that stored these rows."""
    folder = RunFolder.create(
        root,
        cluster="embedded",
        scenario="perf",
        command=["harness", "perf"],
        settings={"enforcer": "bundled"},
    )
    blocks.begin(folder.path / blocks.FILE)
    blocks.append(folder.path / blocks.FILE, rows)
    facts = notes.Notes(folder)
    facts.put(design=notes.design_facts(DESIGN, 1), services=20, nodes=2, sees=SEES)
    for size in DESIGN.sizes:
        reached = {"answered": 20, "sampled": 20}
        facts.put_size(size, pods=20 * size, pods_per_node=10 * size + 1, reached=reached)
    folder.finish(status)
    return folder


def visits() -> dict[str, Any]:
    """Return what a locust part stores."""
    times = {
        "requests": 20000,
        "failures": 3,
        "percentiles_ms": {"50": 3.0, "90": 5.0, "95": 6.0, "99": 9.0, "100": 20.0},
    }
    step = {"rate": 2000, "arrived": 2000.0, "arrival": times, "service": times, "busiest": 0.95}
    visit = {"requests": 20000, "failures": 3, "rps": 2000.0, "steps": [step | {"void": "busy"}]}
    declared = {"format": 2, "services": 21, "each": 4.0, "processes": 1, "rules": ["a rule"]}
    return {**declared, "visits": [visit | {"arm": arm} for arm in ("off", "on")]}


def closed_visits() -> dict[str, Any]:
    """Return what a locust part stored in format 1, when its load was closed."""
    visit = {
        "arm": "off",
        "users": 20,
        "seconds": 10,
        "requests": 20000,
        "failures": 3,
        "rps": 2000.0,
        "average_ms": 4.0,
        "percentiles_ms": {"50": 3.0, "90": 5.0, "95": 6.0, "99": 9.0, "100": 20.0},
        "cpu_seconds": 9.1,
    }
    return {"services": 21, "visits": [visit, visit | {"arm": "on"}]}


def test_a_cost_is_found_and_named() -> None:
    """Ten per cent less on than off is *slower*, with an interval around 0.9."""
    found = analysis.analyse(measured(cost=0.10), seed=1)

    for headline in found.headlines:
        assert headline.effect is not None
        low, high = headline.effect.interval
        assert low < 0.9 < high
        assert headline.verdict is not None
        assert headline.verdict.word is Word.SLOWER


def test_the_control_is_drawn_beside_and_stays_at_one() -> None:
    """Off against off is 1, whatever on costs."""
    found = analysis.analyse(measured(cost=0.10), seed=1)

    for headline in found.headlines:
        assert headline.control is not None
        assert headline.control.ratio == pytest.approx(1.0, abs=0.03)


def test_a_point_of_two_legs_is_no_part_of_a_curve() -> None:
    """Where voids left one leg or two, there is a cross, and neither line nor band."""
    rows = [
        replace(row, void=row.concurrency == 1 and row.block > 25, reason="busy")
        for row in measured(cost=0.0)
    ]
    (sweep, *_) = analysis.analyse(rows, seed=1).sweeps
    on = next(curve for curve in sweep.curves if curve.arm is Arm.ON)

    founded, few = figures.founded_and_few(on.points)

    assert [point.concurrency for point in few] == [1]
    assert few[0].legs < figures.FEWEST_LEGS
    assert [point.concurrency for point in founded] == [16, 64]


def test_growth_is_told_of_valid_sizes_alone(tmp_path: Path) -> None:
    """A size whose blocks are void has a verdict of its own, and no part in what grows."""
    rows = [
        replace(row, void=row.size == 8 and row.block % 3 > 0, reason="busy")
        for row in measured(cost=0.10)
    ]

    text = " ".join(perf.tell(stored(tmp_path, rows)).sentences)

    assert "bundled's cannot be told, with 1 valid verdict of 2" in text
    assert "it falls" not in text


def test_sizes_without_a_valid_block_were_compared_too(tmp_path: Path) -> None:
    """A run with nothing valid said that it had compared one size."""
    rows = [replace(row, void=True, reason="busy") for row in measured(cost=0.10)]

    text = " ".join(perf.tell(stored(tmp_path, rows)).sentences)

    assert "Of no two sizes is a ratio known: nothing is said about growth" in text


def test_sizes_and_kinds_of_connections_are_never_pooled() -> None:
    """Each size has its own headline, for new and for kept connections."""
    found = analysis.analyse(measured(cost=0.0), seed=1)

    keys = [(each.connections, each.size) for each in found.headlines]

    assert keys == [
        (Connections.NEW, 2),
        (Connections.NEW, 8),
        (Connections.KEPT, 2),
        (Connections.KEPT, 8),
    ]


def test_void_blocks_are_counted_and_not_estimated_from() -> None:
    """A void block changes the tally and no estimate."""
    rows = measured(cost=0.0)
    absurd = [
        replace(row, block=9999, rps=1.0 if row.arm is Arm.ON else 1e6, void=True, reason="broken")
        for row in rows[:2]
    ]

    clean, with_void = (analysis.analyse(each, seed=1) for each in (rows, rows + absurd))

    assert with_void.headlines == clean.headlines
    assert with_void.tally.void == 1
    assert with_void.tally.reasons == (("broken", 2),)


def test_cpu_per_request_is_a_quantity_of_its_own() -> None:
    """Where a request takes more CPU time, its ratio is above 1."""
    found = analysis.analyse(measured(cost=0.10), seed=1)

    assert all(each.cpu and each.cpu.ratio > 1.05 for each in found.headlines)


def test_the_costs_of_the_arms_are_told_apart() -> None:
    """Each arm has its own ratio, for the rate and for CPU time per request, the control at 1."""
    found = analysis.analyse(measured(cost=0.10, noise=0.01, design=ARMS), seed=1)

    for cost in found.costs:
        expected = 1 - COSTS.get(cost.comparison.test_arm, 0.10)
        assert cost.rate is not None
        assert cost.cpu is not None
        assert cost.rate.ratio == pytest.approx(expected, abs=0.02)
        assert cost.cpu.ratio == pytest.approx(1 / expected, abs=0.02)
    assert {cost.comparison for cost in found.costs} == set(Comparison)


def test_the_daemon_is_a_cost_apart() -> None:
    """CPU time that the daemon takes is not charged to the requests, but told by the second."""
    rows = [
        replace(row, cpu_seconds=row.cpu_seconds + 0.3 * row.seconds, enforcer_cpu_seconds=used)
        if row.arm is Arm.ON and (used := 0.3 * row.seconds)
        else row
        for row in measured(cost=0.0, noise=0.01)
    ]

    on = [
        cost
        for cost in analysis.analyse(rows, seed=1).costs
        if cost.comparison is Comparison.EFFECT
    ]

    assert all(cost.daemon == pytest.approx(0.3) for cost in on)
    assert all(cost.cpu and cost.cpu.ratio == pytest.approx(1.0, abs=0.02) for cost in on)


def test_the_study_has_nodes_of_two_cpus() -> None:
    """A daemon that takes one of two CPUs halves what the rules leave; bounds go with it."""
    rules = Estimate(math.log(0.8), math.log(0.7), math.log(0.9), 0.01, 30, 0.1, 0.0, 1)
    certain, unsure, all_of_it = (Bounds(*each) for each in ((1, 1, 1), (1, 0.5, 1.5), (3, 3, 3)))

    found = in_the_study(rules, certain)
    wider = in_the_study(rules, unsure)

    assert (found.mean, found.low, found.high) == pytest.approx((0.4, 0.35, 0.45))
    assert wider.mean == pytest.approx(0.4)
    assert wider.low < found.low
    assert wider.high > found.high
    assert in_the_study(rules, all_of_it).high < 1e-5


def test_the_rules_cost_is_taken_apart_by_packets() -> None:
    """What a connection costs is what its request takes more than its packets do."""
    packet, connection = 2e-6, 10e-6
    packets = {"outside-service-kept-c1": 4.0, "outside-service-new-c1": 10.0}
    more = {Connections.KEPT: 4 * packet, Connections.NEW: 10 * packet + connection}
    rows = [
        replace(row, cpu_seconds=row.requests * (100e-6 + more[row.connections]))
        if row.arm is Arm.ON
        else replace(row, cpu_seconds=row.requests * 100e-6)
        for row in measured(cost=0.0)
    ]
    study = {
        "pilot": {"packets": packets},
        "sizes": {"2": {"daemon": {"bundled": [0.2, 0.2, 0.2]}}},
    }

    first, second = parts(analysis.analyse(rows, seed=1), study, seed=1)

    assert first.packet is not None
    assert first.connection is not None
    assert first.daemon is not None
    assert first.packet.mean == pytest.approx(packet)
    assert first.connection.mean == pytest.approx(connection)
    assert first.daemon.mean == pytest.approx(0.2)
    # of ``on`` the CPU time tells what the rules leave: its rate has met the daemon already
    of_new = 100e-6 / (100e-6 + more[Connections.NEW])
    assert first.shaped[Connections.NEW].mean == pytest.approx(0.9 * of_new)
    assert second.daemon is None


def test_arms_have_a_figure_and_a_table_of_their_own(tmp_path: Path) -> None:
    """Where more than on and off was measured, the costs are drawn apart."""
    folder = stored(tmp_path, measured(cost=0.10, design=ARMS))
    folder.write_json("enforcer.json", {"nodes": ["node-1", "node-2"]})

    text = perf.write(folder).with_name("report.md").read_text()

    assert (folder.path / "figures/costs.png").read_bytes().startswith(PNG)
    assert "rules/off" in text
    assert "In the study's shape" in text or "in the study's shape" in text


def test_three_sizes_make_a_curve_of_cost_against_pods(tmp_path: Path) -> None:
    """Where three sizes or more were measured, the cost is drawn against pods on the node."""
    design = replace(ARMS, sizes=(2, 8, 25))
    folder = stored(tmp_path, measured(cost=0.10, design=design))
    facts = notes.Notes(folder)
    facts.put_size(25, pods=500, pods_per_node=251, reached={"answered": 20, "sampled": 20})

    perf.write(folder)

    drawn = (folder.path / "figures/growth.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "bundled shows no change from 21 to 251 pods a node" in growth.title(
        perf.tell(folder).analysis, folder.read_json(notes.FILE)
    )


def test_two_sizes_make_no_curve(tmp_path: Path) -> None:
    """Two points are no curve."""
    folder = stored(tmp_path, measured(cost=0.10))

    perf.write(folder)

    assert not (folder.path / "figures/growth.svg").exists()


def test_mostly_void_is_invalid() -> None:
    """What few blocks are left of a run that others disturbed is no evidence."""
    rows = [
        replace(row, void=row.block % 4 != 0, reason="others used 90% of the CPUs")
        for row in measured(cost=0.10)
    ]

    words = {each.verdict.word for each in analysis.analyse(rows, 1).headlines if each.verdict}

    assert words == {Word.INVALID}


def test_the_figures_are_drawn_as_svg_and_png(tmp_path: Path) -> None:
    """The study's curves, the same for keep-alive, and the ratios: both formats, readable."""
    folder = stored(tmp_path, measured(cost=0.05))

    perf.write(folder)

    for name in ("curves-new", "curves-kept", "ratios"):
        svg, png = (folder.path / "figures" / f"{name}.{kind}" for kind in ("svg", "png"))
        assert ET.parse(svg).getroot().tag.endswith("svg")  # noqa: S314  # we wrote it
        assert png.read_bytes().startswith(PNG)


def test_drawn_again_the_files_are_the_same(tmp_path: Path) -> None:
    """From the same stored data come the same bytes."""
    folder = stored(tmp_path, measured(cost=0.05))
    perf.write(folder)
    names = ("report.html", "report.md", "figures/curves-new.svg", "figures/ratios.png")
    before = [(folder.path / name).read_bytes() for name in names]

    perf.write(folder)

    assert [(folder.path / name).read_bytes() for name in names] == before


def test_the_html_is_one_file_that_answers_first(tmp_path: Path) -> None:
    """Five sentences come before any figure; nothing is fetched from a network."""
    folder = stored(tmp_path, measured(cost=0.10))
    folder.write_json("locust.json", visits())

    html = perf.write(folder).read_text()

    answer, _, rest = html.partition("</ol>")
    assert answer.count("<li>") == 5
    assert "slower" in answer
    assert "data:image/svg+xml;base64," in rest
    assert "http://" not in html.replace("http://10.", "")
    assert "2,000" in rest
    assert "6 (6)" in rest
    assert "corrected for coordinated omission" in rest


def test_a_closed_load_of_earlier_runs_is_drawn_as_it_was(tmp_path: Path) -> None:
    """Format 1 of what locust counted is read on, and said not to be corrected."""
    folder = stored(tmp_path, measured(cost=0.10))
    folder.write_json("locust.json", closed_visits())

    html = perf.write(folder).read_text()

    assert "20,000" in html
    assert "not corrected for coordinated omission" in html


def test_every_link_of_the_report_exists(tmp_path: Path) -> None:
    """What the report points at is in the folder."""
    folder = stored(tmp_path, measured(cost=0.10))
    folder.folder("raw")

    html = perf.write(folder).read_text()

    links = {part.partition('"')[0] for part in html.split('href="')[1:]}
    assert links
    assert [link for link in links if not (folder.path / link).exists()] == []


@pytest.mark.parametrize("count", [0, 2, 7, 40])
def test_a_run_that_was_cut_off_has_a_report_that_says_so(tmp_path: Path, count: int) -> None:
    """However little was measured, the report is valid and marked."""
    folder = stored(tmp_path, measured(cost=0.10)[: count - count % 2], status="partial")

    html = perf.write(folder).read_text()

    assert "This run is partial" in html


def test_without_an_enforcer_the_report_compares_nothing(tmp_path: Path) -> None:
    """An A/A run has curves and a control, and no verdict about an effect."""
    control = [row for row in measured(cost=0.0) if row.comparison is Comparison.CONTROL]
    folder = stored(tmp_path, control)

    text = perf.write(folder).with_name("report.md").read_text()

    assert "no enforcer was compared" in text
    assert "| slower" not in text


def test_report_command_redraws_a_stored_run(tmp_path: Path) -> None:
    """``harness report RUN`` prints the path of the report that it wrote."""
    folder = stored(tmp_path, measured(cost=0.05))

    done = CliRunner().invoke(command, [str(folder.path)])

    assert done.output.splitlines()[-1] == str(folder.path / "report.html")
    assert (folder.path / "report.md").exists()


def test_report_command_refuses_what_is_not_a_run(tmp_path: Path) -> None:
    """A folder without run.json is wrong use, said in one sentence."""
    done = CliRunner().invoke(command, [str(tmp_path)])

    assert "not the folder of a run" in str(done.exception)


PAIR = replace(DESIGN, enforcers=("bundled", "other"))


def test_enforcers_of_one_run_are_told_apart(tmp_path: Path) -> None:
    """Each has its own figures, beside one control; the first screen names them all."""
    rows = [
        replace(row, rps=row.rps * 0.8) if row.enforcer == "other" and row.arm is Arm.ON else row
        for row in measured(cost=0.05, noise=0.01, design=PAIR)
    ]
    folder = stored(tmp_path, rows)

    html = perf.write(folder).read_text()

    found = analysis.analyse(rows, seed=1)
    ratios = {each.enforcer: each.effect.ratio for each in found.headlines if each.effect}
    assert ratios == pytest.approx({"bundled": 0.95, "other": 0.76}, abs=0.02)
    assert len({each.control for each in found.headlines}) == len(found.headlines) / 2
    answer = html.partition("</ol>")[0]
    assert "bundled <a href=" in answer
    assert "other <a href=" in answer


def test_placements_have_a_table_and_no_part_in_the_headline(tmp_path: Path) -> None:
    """What was measured from pods is told apart, with a control of its own."""
    design = replace(DESIGN, elsewhere=ELSEWHERE)
    rows = [
        replace(row, rps=row.rps * 0.5) if row.placement in ELSEWHERE and row.arm is Arm.ON else row
        for row in measured(cost=0.05, noise=0.01, design=design)
    ]
    folder = stored(tmp_path, rows)

    text = perf.write(folder).with_name("report.md").read_text()

    found = analysis.analyse(rows, seed=1)
    assert all(
        h.effect and h.effect.ratio == pytest.approx(0.95, abs=0.02) for h in found.headlines
    )
    told = {(cost.placement, cost.comparison) for cost in found.elsewhere}
    kinds = (Comparison.EFFECT, Comparison.CONTROL)
    assert told == {(each, kind) for each in ELSEWHERE for kind in kinds}
    assert "## Other placements" in text
    assert "| same-node | new | 8 | bundled | on/off |" in text


def test_cpu_time_has_the_same_words(tmp_path: Path) -> None:
    """More CPU seconds per request is slower; the control stands beside it."""
    folder = stored(tmp_path, measured(cost=0.10))

    perf.write(folder)

    found = perf.tell(folder).analysis
    words = {each.cpu_verdict.word for each in found.headlines if each.cpu_verdict}
    assert words == {Word.SLOWER}
    assert all(each.cpu_control for each in found.headlines)


def test_each_figure_can_be_computed_again_from_its_file(tmp_path: Path) -> None:
    """The file that a figure links to has its pairs, and their raw outputs by name."""
    folder = stored(tmp_path, measured(cost=0.10))
    perf.write(folder)
    headline = perf.tell(folder).analysis.headlines[0]
    name = evidence.headline_href(headline, Comparison.EFFECT)

    with (folder.path / name).open(newline="") as file:
        pairs = list(csv.DictReader(file))

    assert headline.effect is not None
    mean = sum(math.log(float(p["test_rps"]) / float(p["reference_rps"])) for p in pairs)
    assert mean / len(pairs) == pytest.approx(headline.effect.mean, abs=1e-6)
    assert all(pair["test_raw"].startswith("raw/") for pair in pairs)


@pytest.mark.parametrize(("noise", "fits"), [(0.0, True), (0.3, False)])
def test_known_costs_come_out_on_a_line_or_not(noise: float, fits: bool) -> None:
    """Rules that cost so much each are in order, with R² of 1; noise is told from it."""
    coin = random.Random(3)
    names = tuple(f"linear-rules={count}" for count in (50, 100, 200))
    design = replace(DESIGN, sizes=(2,), enforcers=names)
    each = {name: int(name.partition("=")[2]) * 1e-7 for name in names}
    wrong = {name: coin.gauss(0, noise) * 1e-4 for name in names}
    rows = [
        replace(
            row,
            cpu_seconds=row.requests
            * (1e-4 + (each[row.enforcer] + wrong[row.enforcer] if row.arm is Arm.ON else 0)),
        )
        for row in measured(cost=0.0, design=design)
    ]

    found = yardstick.lines(analysis.analyse(rows, seed=1))

    assert [line.connections for line in found] == [Connections.NEW, Connections.KEPT]
    assert all((line.r2 > 0.99 and line.ordered) is fits for line in found)
    assert not fits or all(line.slope == pytest.approx(1e-7) for line in found)
