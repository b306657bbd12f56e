"""Figures from pairs: seeded, symmetric, and in words that are fixed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness import stats
from harness.stats import Spread, Verdict, Word


def noisy(mean: float, sd: float, pairs: int, seed: int = 1) -> list[float]:
    """Return log ratios with this mean, and about this spread."""
    drawn = np.random.default_rng(seed).normal(0.0, sd, pairs)
    return list(drawn - drawn.mean() + mean)


def test_the_same_pairs_and_seed_give_the_same_figures() -> None:
    """An estimate can be computed again to the last digit."""
    values = noisy(-0.1, 0.1, 20)

    assert stats.estimate(values, seed=3) == stats.estimate(values, seed=3)


def test_the_ratio_is_the_geometric_mean() -> None:
    """Twice and half as fast cancel out."""
    assert stats.estimate([math.log(2), -math.log(2)], seed=1).ratio == pytest.approx(1.0)


def test_few_pairs_are_counted_exactly() -> None:
    """Six pairs of the same sign: two of 64 sign patterns are as far from 0."""
    p = stats.sign_flip_p(np.full(6, 0.1), np.random.default_rng(1))

    assert p == pytest.approx(2 / 64)


def test_one_pair_has_no_interval() -> None:
    """Nothing is known about the spread of a single pair."""
    only = stats.estimate([0.1], seed=1)

    assert (only.low, only.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("freedom", "tabulated"), [(5, 2.571), (9, 2.262), (29, 2.045), (120, 1.980)]
)
def test_students_quantiles_match_the_table(freedom: int, tabulated: float) -> None:
    """The expansion agrees with the printed table of t at 97.5 %."""
    assert stats._student(0.975, freedom) == pytest.approx(tabulated, rel=0.003)


@pytest.mark.parametrize(
    ("mean", "sd", "word"),
    [
        (-0.10, 0.05, Word.SLOWER),
        (0.10, 0.05, Word.FASTER),
        (0.001, 0.02, Word.EQUIVALENT),
        (0.01, 0.30, Word.INDISTINCT),
    ],
)
def test_each_word_has_its_case(mean: float, sd: float, word: Word) -> None:
    """Slower, faster, equivalent within the margin, or not distinguishable."""
    effect = stats.estimate(noisy(mean, sd, 40), seed=1)
    control = stats.estimate(noisy(0.0, sd, 40, seed=2), seed=1)

    assert stats.judge(effect, control).word is word


def test_a_control_that_differs_makes_the_verdict_invalid() -> None:
    """When a thing differs from itself, nothing can be said about anything else."""
    effect = stats.estimate(noisy(-0.1, 0.05, 40), seed=1)
    control = stats.estimate(noisy(0.1, 0.05, 40), seed=1)

    assert stats.judge(effect, control).word is Word.INVALID


def test_too_few_pairs_are_invalid() -> None:
    """Five pairs cannot reach p < 0.05, whatever they show."""
    effect = stats.estimate([-0.5] * 5, seed=1)

    assert str(stats.judge(effect, None)) == "invalid (5 valid pairs, 6 are the fewest)"


def test_the_words_of_a_report() -> None:
    """A verdict carries its margin, its smallest visible effect, or its reason."""
    assert str(Verdict(Word.EQUIVALENT, "3%")) == "equivalent within ±3%"
    assert str(Verdict(Word.INDISTINCT, "4.0%")) == "not distinguishable (sees ≥ 4.0%)"


def test_more_pairs_see_smaller_effects() -> None:
    """The smallest visible effect shrinks with the root of the number of pairs."""
    few, many = (stats.smallest_visible(0.1, pairs) for pairs in (25, 100))

    assert many < few
    assert stats.smallest_visible(0.1, 5) == math.inf


def test_neighbours_that_resemble_each_other_are_drawn_together() -> None:
    """Positive autocorrelation makes blocks; independence and alternation do not."""
    assert stats.block_length(100, 0.0) == 1
    assert stats.block_length(100, -0.8) == 1
    assert stats.block_length(100, 0.5) > 3


@pytest.mark.parametrize(("sd", "visible"), [(0.1, 0.03), (0.02, 0.05), (0.3, 0.01)])
def test_a_precision_takes_as_many_pairs_as_see_it_and_no_more(sd: float, visible: float) -> None:
    """With these pairs the effect will be seen; with one less it would not be."""
    known = Spread(sd, pairs=20, freedom=18.0)

    pairs = stats.pairs_for(visible, known, most=1_000_000)

    assert known.sees(pairs) <= visible
    assert pairs == stats.FEWEST or known.sees(pairs - 1) > visible


def test_a_precision_out_of_reach_takes_the_most_pairs() -> None:
    """Where no number of pairs would do, the bound is the answer."""
    assert stats.pairs_for(0.001, Spread(0.3, 20, 18.0), most=500) == 500


@pytest.mark.parametrize(
    ("freedom", "tabulated"), [(1, 0.0158), (5, 1.610), (18, 10.865), (60, 46.459)]
)
def test_chi_squared_matches_the_table(freedom: int, tabulated: float) -> None:
    """Its lower decile, by the approximation, is the printed one, or errs towards caution."""
    found = stats._chi_squared(0.1, freedom)

    assert found <= tabulated * 1.01
    assert freedom == 1 or found == pytest.approx(tabulated, rel=0.01)


def test_an_unknown_spread_promises_nothing() -> None:
    """One pair says nothing about spread: the limit is infinite, and so is what can be seen."""
    assert stats.spread([[0.1]]).sees(40) == math.inf
    assert stats.spread([]).sees(40) == math.inf


def test_autocorrelation_is_counted_in_what_can_be_seen() -> None:
    """Neighbours that resemble each other are fewer than they are many."""
    values = np.repeat(np.random.default_rng(1).normal(0.0, 0.1, 20), 5)
    mixed = np.random.default_rng(2).permutation(values)

    clustered, free = (stats.estimate(list(each), seed=1) for each in (values, mixed))

    assert clustered.sees > 1.5 * free.sees
