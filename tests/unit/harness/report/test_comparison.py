"""Two runs are compared by their ratios, and only where their machines are alike."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.compare import command
from harness.errors import UsageError
from harness.load.ab import Connections
from harness.measure import blocks, notes
from harness.measure.blocks import Row
from harness.measure.plan import Arm, Design, make_plan
from harness.results import RunFolder

DESIGN = Design(sizes=(2,), concurrencies=(1, 16, 64), rounds=10)


def stored(root: Path, cost: float, seed: int = 1) -> RunFolder:
    """Return a run in which ``on`` costs this share of the rate."""
    coin = random.Random(seed)
    settings = {"enforcer": "bundled", "nodes": 2}
    folder = RunFolder.create(
        root, cluster="embedded", scenario="perf", command=["harness"], settings=settings
    )
    rows = [
        Row(
            block=block.number,
            cell=str(block.cell),
            size=block.cell.size,
            enforcer="bundled",
            arm=leg.arm,
            placement=block.cell.placement,
            keepalive=block.cell.connections is Connections.KEPT,
            concurrency=block.cell.concurrency,
            requests=1000,
            seconds=1.0,
            cpu_seconds=1.0,
            void=False,
            reason="",
            comparison=block.comparison,
            role=leg.role,
            position=position,
            failed=0,
            rps=1000 * math.exp(coin.gauss(0, 0.01)) * (1 - cost if leg.arm is Arm.ON else 1),
            p50_ms=1.0,
            p99_ms=2.0,
            enforcer_cpu_seconds=0.0,
            stolen_seconds=0.0,
            at=0.0,
            raw="",
        )
        for block in make_plan(DESIGN, seed).blocks
        for position, leg in enumerate(block.legs, start=1)
    ]
    blocks.begin(folder.path / blocks.FILE)
    blocks.append(folder.path / blocks.FILE, rows)
    notes.Notes(folder).put(design=notes.design_facts(DESIGN, seed))
    return folder


def compared(*runs: RunFolder, options: tuple[str, ...] = ()) -> Result:
    """Run the command on the folders of two runs."""
    return CliRunner().invoke(command, [*options, *(str(run.path) for run in runs)])


@pytest.mark.parametrize(
    ("costs", "word"),
    [((0.05, 0.15), "slower"), ((0.15, 0.05), "faster"), ((0.10, 0.10), "equivalent within ±3%")],
)
def test_a_change_of_cost_is_named(tmp_path: Path, costs: tuple[float, float], word: str) -> None:
    """The verdict is on the second run, for each condition that both have."""
    first, second = (stored(tmp_path, cost, seed) for seed, cost in enumerate(costs, start=1))

    done = compared(first, second)

    table = [line for line in done.output.splitlines() if line.startswith(("| new", "| kept"))]
    assert len(table) == 2
    assert all(line.endswith(f"| {word} |") for line in table), done.output


def test_unlike_machines_are_refused_with_every_difference(tmp_path: Path) -> None:
    """What differs is said, all at once; nothing is compared."""
    first, second = stored(tmp_path, 0.1), stored(tmp_path, 0.1)
    env = second.read_json("env.json")
    second.write_json("env.json", env | {"kernel": "1.2.3", "memory_bytes": 2**20})
    run = second.read_json("run.json")
    second.write_json("run.json", run | {"settings": run["settings"] | {"nodes": 100}})

    done = compared(first, second)

    assert isinstance(done.exception, UsageError)
    for word in ("kernel: ", " and 1.2.3", "memory: ", "nodes: 2 and 100", "--unlike"):
        assert word in str(done.exception)


def test_unlike_machines_are_compared_when_told(tmp_path: Path) -> None:
    """Whoever insists gets the table, with the differences above it."""
    first, second = stored(tmp_path, 0.1), stored(tmp_path, 0.1)
    second.write_json("env.json", second.read_json("env.json") | {"cpus": 64})

    done = compared(first, second, options=("--unlike",))

    assert done.exit_code == 0
    assert "Unlike: cpus: " in done.output
    assert "| new | 2 |  on/off |" in done.output


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A functional run has no costs to compare."""
    other = RunFolder.create(
        tmp_path, cluster="embedded", scenario="functional", command=[], settings={}
    )

    done = compared(other, other)

    assert "not a perf run" in str(done.exception)
