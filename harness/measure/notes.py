"""``study.json``: the plan, the rules declared beforehand, and what was found on the way.

Written anew with each thing that is known, so that a run that is cut off has said all it knew.
"""

from __future__ import annotations

from typing import Any

from harness import stats
from harness.measure import voiding
from harness.measure.plan import Design
from harness.results import RunFolder

FILE = "study.json"

FORMAT = 4
"""Of the file; ``results/README.md`` says what changed."""


class Notes:
    """The growing content of ``study.json``; where the file is there, it grows on."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        known = (folder.path / FILE).exists()
        self._facts: dict[str, Any] = folder.read_json(FILE) if known else {"format": FORMAT}

    def put(self, **facts: Any) -> None:
        """Add facts; they are in the file when this returns."""
        self._facts |= facts
        self._folder.write_json(FILE, self._facts)

    def put_size(self, size: int, **facts: Any) -> None:
        """Add facts about one size."""
        sizes = self._facts.setdefault("sizes", {})
        sizes.setdefault(str(size), {}).update(facts)
        self.put(sizes=sizes)


def design_facts(design: Design, seed: int) -> dict[str, Any]:
    """Return what is declared before the first block."""
    return {
        "seed": seed,
        "sizes": list(design.sizes),
        "quantity": design.quantity.value,
        "concurrencies": list(design.concurrencies),
        "connections": [each.value for each in design.connections],
        "placements": [each.value for each in design.placements],
        "elsewhere_concurrency": design.elsewhere_concurrency,
        "comparisons": [each.value for each in design.comparisons],
        "enforcers": list(design.enforcers),
        "rounds": design.rounds,
        "leg_seconds": design.leg_seconds,
        "pairs_per_estimate": design.pairs_per_estimate,
        "voiding_rules": list(voiding.RULES),
        "equivalence_margin": stats.MARGIN,
        "alpha": stats.ALPHA,
        "interval_level": stats.LEVEL,
    }
