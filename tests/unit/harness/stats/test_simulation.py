"""The statistics on noise like a shared machine's: it drifts, and it must not pass for an effect.

Coefficient of variation 22 %, lag-1 autocorrelation 0.81, as 400 identical runs of ab showed.
Seeded, hence the same each time.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness import stats
from harness.stats import Estimate, Floats

VARIATION = 0.22
LAG1 = 0.81
SIMULATIONS = 2000
RESAMPLES = 800


def ar1(rng: np.random.Generator, size: int) -> Floats:
    """Return log rates of identical work, one after the other."""
    sd = math.sqrt(math.log1p(VARIATION**2))
    steps = rng.normal(0.0, sd * math.sqrt(1 - LAG1**2), size)
    rates = np.empty(size)
    rates[0] = rng.normal(0.0, sd)
    for index in range(1, size):
        rates[index] = LAG1 * rates[index - 1] + steps[index]
    return rates


def simulate(pairs: int, effect: float, runs: int = SIMULATIONS) -> list[Estimate]:
    """Estimate ``runs`` studies of ``pairs`` pairs each, in coin order, with a planted effect."""
    rng = np.random.default_rng(20180729)
    found = []
    for run in range(runs):
        legs = ar1(rng, 2 * pairs).reshape(-1, 2)
        coin = rng.integers(0, 2, pairs) * 2 - 1
        ratios = coin * (legs[:, 0] - legs[:, 1]) + effect
        found.append(stats.estimate(ratios.tolist(), seed=run, resamples=RESAMPLES))
    return found


@pytest.mark.parametrize("pairs", [10, 30])
def test_false_alarms_stay_near_nominal(pairs: int) -> None:
    """Identical arms are called different in at most 7 % of studies, at a nominal 5 %."""
    alarms = np.mean([estimate.p < stats.ALPHA for estimate in simulate(pairs, 0.0)])

    assert alarms <= 0.07


@pytest.mark.parametrize("pairs", [10, 30])
def test_intervals_cover_the_truth(pairs: int) -> None:
    """At least 93 % of the 95 % intervals contain the effect that was planted."""
    effect = math.log(0.97)

    covered = np.mean([each.low <= effect <= each.high for each in simulate(pairs, effect)])

    assert covered >= 0.93


def test_a_planted_effect_is_found_with_the_power_that_was_stated() -> None:
    """An effect of 3 % is found about as often as the smallest visible effect promises: 80 %."""
    effect = math.log(0.97)
    pairs = 150
    studies = simulate(pairs, effect, runs=400)
    sees = np.median([each.sees for each in studies])

    found = np.mean([each.p < stats.ALPHA and each.high < 0 for each in studies])

    assert sees == pytest.approx(0.03, abs=0.005)
    assert 0.74 <= found <= 0.90


def test_all_off_then_all_on_would_be_fooled() -> None:
    """The order that we do not use calls identical arms different far more often than 5 %."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        rates = ar1(rng, 60)
        ratios = rates[30:] - rates[:30]
        alarms += stats.sign_flip_p(ratios, rng, RESAMPLES) < stats.ALPHA

    assert alarms / 200 > 0.3
