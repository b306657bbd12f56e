"""What a mutation run stores: ``mutation.json`` with everything, ``report.md`` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.results import RunFolder
from tests.mutation.judging import Catch, Fate, Tried

SCHEMA = 1
"""Raised whenever a stored field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Score:
    """How good the judge is: ``caught`` of ``judged``."""

    caught: int
    judged: int

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Score:
        """Count what was judged."""
        fates = Counter(one.fate for one in tried)
        return cls(fates[Fate.CAUGHT], fates[Fate.CAUGHT] + fates[Fate.SURVIVED])

    def __str__(self) -> str:
        """Return it as a person would write it."""
        share = 100 * self.caught / self.judged if self.judged else 0.0
        return f"{self.caught} of {self.judged} mutants caught ({share:.0f} %)"


def write(
    folder: RunFolder, tried: Sequence[Tried], unsound: Sequence[str], seed: int | None
) -> None:
    """Store a run."""
    score = Score.of(tried)
    folder.write_json(
        "mutation.json",
        {
            "schema": SCHEMA,
            "score": {"caught": score.caught, "judged": score.judged},
            "seed": seed,
            "unsound": list(unsound),
            "mutants": [_stored(one) for one in tried],
        },
    )
    folder.write_text("report.md", "\n".join(_report(tried, unsound, seed)) + "\n")


def _stored(one: Tried) -> dict[str, Any]:
    return {
        "mutant": one.mutant.name,
        "says": one.mutant.says,
        "kind": one.mutant.kind.value,
        "flags": list(one.mutant.flags),
        "ground": one.ground or one.mutant.ground.value,
        "fate": one.fate.value,
        "reason": one.reason,
        "cases_asked": one.asked,
        "seconds": one.seconds,
        "catches": [
            {
                "case": found.case,
                "wrong": found.wrong,
                "cells": found.cells,
                "axes": {axis: list(values) for axis, values in found.axes.items()},
                "example": found.example,
            }
            for found in one.catches
        ],
    }


def _report(tried: Sequence[Tried], unsound: Sequence[str], seed: int | None) -> Iterator[str]:
    drawn = "" if seed is None else f", drawn by seed {seed}"
    yield "# How good is the judge?"
    yield ""
    yield f"**{Score.of(tried)}**{drawn}."
    yield ""
    if not unsound:
        yield "The sound enforcers pass every case that caught a mutant, on the same clusters."
    yield from (f"- The sound enforcer fails {one}" for one in unsound)
    yield ""
    yield "| Mutant | What is broken | On | Caught by | Wrong cells | Axis that was needed |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield from (_row(one) for one in tried)


def _row(one: Tried) -> str:
    name, says = one.mutant.name, one.mutant.says
    ground = one.ground or one.mutant.ground.value
    if one.fate is not Fate.CAUGHT:
        first_line = one.reason.partition("\n")[0]
        return f"| {name} | {says} | {ground} | **{one.fate.value}** | | {first_line} |"
    found = one.catches[0]
    by = f"{found.case}, {len(one.catches)} of {one.asked} asked"
    return (
        f"| {name} | {says} | {ground} | {by} | {found.wrong} of {found.cells} | {needed(found)} |"
    )


def needed(found: Catch) -> str:
    """Write the axes down on which wrong cells differ from the others."""
    parts = (f"{axis}: {', '.join(values)}" for axis, values in found.axes.items())
    return "; ".join(parts) or "any"
