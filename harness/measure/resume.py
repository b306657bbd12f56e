"""A run that was cut off, taken up again: what it had settled, and which blocks it had done.

The plan is drawn from the stored seed and rounds, so it is the same plan; the work of a leg is
the stored one, so that legs before and after the cut are equal. The pilot is not repeated. Whole
blocks stay as they are; a block that the cut tore apart is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.measure import blocks, notes
from harness.results import RunFolder


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the run had come to."""

    requests: Mapping[str, int]
    """Of a leg, by :func:`~harness.measure.pilot.condition`."""

    rounds: int
    done: frozenset[int]
    """Numbers of the blocks that are stored whole."""

    ended: frozenset[int]
    """Sizes that need no block more: all were done, or the size's time was over."""

    at: float
    """Seconds from the start of the measurement to the last leg."""

    block_seconds: float


def earlier(folder: RunFolder) -> Earlier:
    """Read what a run had come to; UsageError where it cannot be taken up."""
    status = folder.read_json("run.json")["status"]
    if status == "passed":
        raise UsageError(f"--resume {folder.path}: this run is complete")
    facts = folder.read_json(notes.FILE) if (folder.path / notes.FILE).exists() else {}
    if facts.get("format") != notes.FORMAT or "pilot" not in facts:
        raise UsageError(f"--resume {folder.path}: cut off before its pilot ended; start it anew")
    rows = blocks.read(folder.path / blocks.FILE)
    sizes = facts.get("sizes", {})
    return Earlier(
        requests=facts["pilot"]["requests"],
        rounds=facts["design"]["rounds"],
        done=frozenset(row.block for row in rows),
        ended=frozenset(int(size) for size, known in sizes.items() if "rounds" in known),
        at=max((row.at + row.seconds for row in rows), default=0.0),
        block_seconds=facts["pilot"]["pace"]["block"],
    )


def mend(folder: RunFolder) -> None:
    """Take what a cut tore apart out of ``blocks.csv``: half a block, or half a line."""
    path = folder.path / blocks.FILE
    whole = blocks.read(path)
    blocks.begin(path)
    blocks.append(path, whole)
