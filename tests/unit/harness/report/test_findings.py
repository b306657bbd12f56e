"""What titles may claim: a rate only where a difference, or its absence, can be told."""

from __future__ import annotations

import math

import pytest

from harness.load.ab import Connections
from harness.report.analysis import Headline
from harness.report.findings import curve_title
from harness.stats import Estimate, Verdict, Word


def headline(size: int, ratio: float, word: Word) -> Headline:
    """Return the headline of one size."""
    effect = Estimate(math.log(ratio), -0.1, 0.1, 0.5, 10, 0.1, 0.0, 1)
    told = Verdict(word, "30%")
    return Headline("bundled", size, Connections.NEW, effect, None, None, None, told, None)


def test_noise_is_not_called_a_rate() -> None:
    """Where no size can be told from none, the title says so and names no rate."""
    title = curve_title([headline(2, 0.86, Word.INDISTINCT)])

    assert "no difference can be told" in title
    assert "86" not in title.partition("\n")[0]


@pytest.mark.parametrize("word", [Word.SLOWER, Word.FASTER, Word.EQUIVALENT])
def test_a_rate_that_was_told_is_named(word: Word) -> None:
    """A size that was told apart, or found equivalent, lets the title speak of rates."""
    told = [headline(2, 0.975, Word.INDISTINCT), headline(8, 0.95, word)]

    assert curve_title(told).startswith(
        "With a new connection each, bundled runs at 95.0 to 97.5 % of the rate"
    )
