"""What titles may claim: a rate only where a difference, or its absence, can be told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.load.ab import Connections
from harness.report.analysis import Headline
from harness.report.findings import amount, brief, curve_title
from harness.stats import Estimate, Verdict, Word


def headline(size: int, ratio: float, word: Word) -> Headline:
    """Return the headline of one size."""
    effect = Estimate(math.log(ratio), -0.1, 0.1, 0.5, 10, 0.1, 0.0, 1)
    told = Verdict(word, "30%")
    return Headline("bundled", size, Connections.NEW, effect, None, None, None, told, None)


def test_noise_is_not_called_a_rate() -> None:
    """Where no size can be told from none, the title says so and names no rate."""
    title = curve_title([headline(2, 0.86, Word.INDISTINCT)], {})

    assert "no difference can be told" in title
    assert "86" not in title.partition("\n")[0]


@pytest.mark.parametrize("word", [Word.SLOWER, Word.FASTER, Word.EQUIVALENT])
def test_a_rate_that_was_told_is_named(word: Word) -> None:
    """A size that was told apart, or found equivalent, lets the title speak of rates."""
    told = [headline(2, 0.975, Word.INDISTINCT), headline(8, 0.95, word)]

    assert curve_title(told, {}).startswith(
        "With a new connection each, bundled runs at 95.0 to 97.5 % of the rate"
    )


@pytest.mark.parametrize("names", [("bundled",), ("bundled", "other")])
def test_what_is_invalid_is_no_finding(names: tuple[str, ...]) -> None:
    """No title tells a rate of a size whose verdict is invalid; it says which size that is."""
    told = [
        replace(headline(size, ratio, word), enforcer=name)
        for name in names
        for size, ratio, word in ((2, 0.95, Word.SLOWER), (8, 0.60, Word.INVALID))
    ]

    title = curve_title(told, {})

    assert "bundled runs at 95.0 % (invalid at 8 a service)" in title
    assert "60" not in title


def test_a_title_without_a_valid_verdict_says_so() -> None:
    """Nothing is told where nothing counts."""
    title = curve_title([headline(8, 0.60, Word.INVALID)], {})

    assert title.startswith("With a new connection each, no verdict on bundled is valid")


def test_a_label_of_one_is_in_the_singular() -> None:
    """A sweep that begins with one policy, and a study with one pod a Service."""
    policies = {"design": {"quantity": "policies"}}

    assert (brief(1, policies), amount(1, policies)) == ("1 policy", "1 policy")
    assert (brief(1, {}), brief(8, {})) == ("1 a service", "8 a service")
