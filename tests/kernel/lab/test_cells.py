from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.lab import dumps, rules
from harness.lab.cells import Cell, Kind
from harness.lab.dumps import Dump
from harness.lab.guest.network import POD_A
from harness.lab.machine import PROJECT
from harness.requirements import find_tool

pytestmark = pytest.mark.kernel

PROGRAM = """
import json, sys
from pathlib import Path
from harness.lab.guest import measuring
folder = Path(sys.argv[1])
cells = json.loads((folder / "cells.json").read_text())
print(json.dumps([result for cell in cells for result in measuring.measure(cell, folder)]))
"""
JUMPING = "import time; time.sleep = lambda _: None"
"""The guest's clock, to those who wait."""

INSIDE = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'


def measured(
    folder: Path,
    *cells: Cell,
    enforces: bool | None = None,
    dump: Dump | None = None,
    packets: int = 0,
    program: str = PROGRAM,
) -> list[dict[str, object]]:
    """Run cells as the guest does, in namespaces of this machine's kernel."""
    described = [
        {
            "name": cell.name,
            "points": cell.points,
            "enforces": cell.kind.enforces if enforces is None else enforces,
            "proves": True,
            "requests": {"new": 50},
            "packets": packets,
            "rules": rules.as_json(rules.write(cell, folder / "rules", dump), "rules"),
        }
        for cell in cells
    ]
    (folder / "cells.json").write_text(json.dumps(described))
    argv = ["unshare", "--mount", "--net", "--", "sh", "-c", INSIDE, "sh"]
    argv += [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=True)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "cell",
    [
        Cell(Kind.NONE),
        Cell(Kind.ESTABLISHED),
        Cell(Kind.BUNDLED, 20),
        Cell(Kind.BUNDLED, 20, 2),
        Cell(Kind.MODEL_LEGACY, 20),
        Cell(Kind.MODEL_NFT, 20, 2),
    ],
    ids=lambda cell: cell.name,
)
def test_a_cell_loads_acts_and_has_a_rate(cell: Cell, tmp_path: Path) -> None:
    """Every kind of rules lets the allowed client in, keeps the stranger out, and is measured."""
    (result,) = measured(tmp_path, cell)

    assert result["error"] == ""
    assert isinstance(result["rate"], float)
    assert result["rate"] > 0


@pytest.mark.parametrize(
    "cell",
    [Cell(Kind.NONE), Cell(Kind.BUNDLED, 20, 2), Cell(Kind.MODEL_LEGACY, 20)],
    ids=lambda cell: cell.name,
)
def test_packets_arrive_one_by_one(cell: Cell, tmp_path: Path) -> None:
    """First packets, and later ones of a connection that the rules know, are sent and counted."""
    results = measured(tmp_path, cell, packets=20)

    assert [(it["load"], it["error"]) for it in results] == [
        *(("new", ""), ("first", ""), ("later", "")),
    ]


@pytest.mark.optional("iptables-legacy")
def test_packets_that_do_not_arrive_are_no_measurement(tmp_path: Path) -> None:
    """Rules that let requests pass and drop the counted packets leave a reason, and no rate."""
    dump = Dump(SPITEFUL, "", POD_A)

    new, *packets = measured(tmp_path, Cell(Kind.DUMP_LEGACY), enforces=False, dump=dump, packets=1)

    assert new["error"] == ""
    assert [(it["rate"], it["error"]) for it in packets] == [
        (0, "of 215 packets 0 arrived"),
    ] * 2


SPITEFUL = """*filter
-A FORWARD -p tcp --sport 20000:29999 -j DROP
COMMIT
"""


def test_rules_that_do_not_act_are_no_measurement(tmp_path: Path) -> None:
    """A cell that should enforce and lets a stranger in has no rate, but a reason."""
    (result,) = measured(tmp_path, Cell(Kind.EMPTY), enforces=True)

    assert (result["rate"], result["error"]) == (
        0,
        "a client that the policy denies reaches the pod",
    )


def test_a_slow_server_is_waited_for_however_the_clock_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy host is long in giving the guest the server's files, while the guest's clock jumps."""
    slow = tmp_path / "bin" / "nginx"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 0.5\nexec {find_tool("nginx")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")

    (result,) = measured(tmp_path, Cell(Kind.NONE), program=f"{JUMPING}\n{PROGRAM}")

    assert result["error"] == ""


def test_a_server_that_ends_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for what has ended."""
    broken = tmp_path / "bin" / "nginx"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")

    (result,) = measured(tmp_path, Cell(Kind.NONE))

    assert result["error"] == "nginx ended before it listened"


def saved(folder: Path, kind: Kind, pod: str) -> Dump:
    """Load a model's rules with another pod's address, and return what save prints, as files."""
    loads = rules.write(Cell(kind, 20), folder)["a"]
    tool = "iptables-legacy" if kind is Kind.MODEL_LEGACY else "iptables-nft"
    script = "ip link set lo up; mount -t tmpfs tmpfs /run; "
    script += "".join(f"{' '.join(load.argv)} <{folder / load.file} && " for load in loads)
    script += f"{tool}-save >{folder}/rules && ipset save >{folder}/sets"
    argv = ("unshare", "--mount", "--net", "--", "sh", "-c", script)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("rules", "sets"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(POD_A, pod))
    return dumps.read(folder / "rules", folder / "sets", pod)


@pytest.mark.optional("iptables-legacy", "ipset")
@pytest.mark.parametrize("kind", [Kind.MODEL_LEGACY, Kind.MODEL_NFT], ids=lambda kind: kind.name)
def test_a_dump_acts_upon_the_measured_pod(kind: Kind, tmp_path: Path) -> None:
    """What was saved on another node, of a pod with another address, is in the packets' way."""
    dump = saved(tmp_path / "saved", kind, "10.7.3.99")
    cell = Cell({Kind.MODEL_LEGACY: Kind.DUMP_LEGACY}.get(kind, Kind.DUMP_NFT))

    (result,) = measured(tmp_path, cell, enforces=True, dump=dump)

    assert result["error"] == ""


def test_a_listing_of_nft_acts_upon_the_measured_pod(tmp_path: Path) -> None:
    """What nft has listed on another node, of a pod with another address, is in the way, too."""
    (load,) = rules.write(Cell(Kind.BUNDLED, 20), tmp_path)["a"]
    listed = subprocess.run(
        ["unshare", "--net", "--", "sh", "-c", "nft -f - && nft -s list ruleset"],
        input=(tmp_path / load.file).read_text().replace(POD_A, "10.2.0.77"),
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "listed").write_text(listed.stdout)
    dump = dumps.read(tmp_path / "listed", None, "10.2.0.77")

    (result,) = measured(tmp_path, Cell(Kind.DUMP_RULESET), enforces=True, dump=dump)

    assert result["error"] == ""
