"""What the blocks say: the mean log ratio, its interval, its p, and a verdict in fixed words.

The unit is a *pair* of equal pieces of work whose order a coin drew. Where the two arms do not
differ, its log ratio is as likely to be ``+x`` as ``-x``, however the machine's speed drifts:
so the sign-flip test is exact, and a drift that stays over many pairs cannot pass for an effect.
The interval is a bootstrap over pairs, in moving blocks where neighbours resemble each other,
widened for small numbers as Hesterberg does (2015, doi:10.1080/00031305.2015.1089789, §"expanded
percentile"). All of it is seeded: the same blocks give the same figures.

Never in here: files, clusters, or what a pair measured.
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Of the intervals."""

ALPHA = 0.05
"""A smaller p is a difference."""

AA_ALPHA = 0.01
"""An A/A control with a smaller p makes the whole run invalid."""

POWER = 0.8
"""With which the *smallest visible effect* would be found."""

MARGIN = 0.03
"""An interval within this much of 1 is called equivalent."""

FEWEST = 6
"""Pairs below which no sign-flip p can be under 0.05 (2 / 2**6 = 0.03)."""

CONFIDENCE = 0.9
"""With which a run sees at least what its pilot promised, while the noise stays what it was."""

_RESAMPLES = 4000
_EXACT = 12  # pairs up to which all 2**n sign patterns are counted


class Bounds(NamedTuple):
    """A figure and its 95 % interval."""

    mean: float
    low: float
    high: float

    def scaled(self, factor: float) -> Bounds:
        """Return it in another unit."""
        return Bounds(*(factor * each for each in self))

    def less(self, other: Bounds) -> Bounds:
        """Return the difference (MOVER: Zou and Donner 2008), as of independent figures."""
        mean = self.mean - other.mean
        below = math.hypot(self.mean - self.low, other.high - other.mean)
        above = math.hypot(self.high - self.mean, other.mean - other.low)
        return Bounds(mean, mean - below, mean + above)

    @classmethod
    def of(cls, estimate: Estimate) -> Bounds:
        """Return the mean of an estimate and its interval, as they are."""
        return cls(estimate.mean, estimate.low, estimate.high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of log ratios: ``0`` is no difference. ``low`` and ``high`` bound it at 95 %."""

    mean: float
    low: float
    high: float
    p: float
    pairs: int
    sd: float
    lag1: float
    """Autocorrelation of neighbouring pairs."""

    block_length: int
    """Pairs that the bootstrap drew together."""

    @property
    def ratio(self) -> float:
        """Geometric mean of the ratios."""
        return math.exp(self.mean)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the ratio."""
        return math.exp(self.low), math.exp(self.high)

    @property
    def inverse(self) -> Estimate:
        """The estimate of the inverse ratio: of requests a CPU second, say, for CPU a request."""
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low)

    @property
    def sees(self) -> float:
        """The smallest effect that as many pairs of this spread would show, as a fraction."""
        return smallest_visible(self.sd * inflation(self.lag1, self.pairs), self.pairs)


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the log ratios of equal work differ, by a sample that is itself uncertain."""

    sd: float
    """Of a pair, autocorrelation counted; NaN where nothing is known."""

    pairs: int
    freedom: float
    """Degrees of freedom of ``sd``; fewer than pairs, and fewer still with heavy tails."""

    def sees(self, pairs: int) -> float:
        """Return the smallest effect that a run of ``pairs`` pairs will see (:data:`CONFIDENCE`).

        A prediction: the run's own spread is a sample, too, and may come out larger.
        """
        if self.freedom == 0 or pairs < FEWEST:
            return math.inf
        own = (pairs - 1) * min(1.0, self.freedom / self.pairs)
        freedom = 1 / (1 / self.freedom + 1 / own)
        limit = self.sd * math.sqrt(freedom / _chi_squared(1 - CONFIDENCE, freedom))
        return smallest_visible(limit, pairs)


class Word(enum.Enum):
    """The words that a verdict may use."""

    SLOWER = "slower"
    FASTER = "faster"
    EQUIVALENT = "equivalent"
    INDISTINCT = "not distinguishable"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word and what belongs to it: a margin, the smallest visible effect, or a reason."""

    word: Word
    detail: str = ""

    def __str__(self) -> str:
        """Return the words of a report."""
        match self.word:
            case Word.SLOWER | Word.FASTER:
                return str(self.word.value)
            case Word.EQUIVALENT:
                return f"equivalent within ±{self.detail}"
            case Word.INDISTINCT:
                return f"not distinguishable (sees ≥ {self.detail})"
            case Word.INVALID:
                return f"invalid ({self.detail})"


def estimate(log_ratios: Sequence[float], seed: int, resamples: int = _RESAMPLES) -> Estimate:
    """Estimate the mean of ``log_ratios``, which are in the order in which they were measured."""
    values = np.asarray(log_ratios, dtype=np.float64)
    if values.size == 0:
        message = "no pair to estimate from"
        raise ValueError(message)
    rng = np.random.default_rng(seed)
    lag1 = autocorrelation(values)
    length = block_length(values.size, lag1)
    low, high = _interval(_bootstrap_means(values, length, resamples, rng), values)
    return Estimate(
        mean=float(values.mean()),
        low=low,
        high=high,
        p=sign_flip_p(values, rng, resamples),
        pairs=values.size,
        sd=_sd(values),
        lag1=lag1,
        block_length=length,
    )


def smallest_visible(sd: float, pairs: int) -> float:
    """Return the smallest change (0.03 = 3 %) found with 80 % power at a p of 5 %.

    ``sd`` is that of the log ratio of a pair, as a pilot or a finished run showed it.
    """
    if pairs < FEWEST:
        return math.inf
    normal = NormalDist()
    z = _student(1 - ALPHA / 2, pairs - 1) + normal.inv_cdf(POWER)
    return math.expm1(z * sd / math.sqrt(pairs))


def pairs_for(visible: float, found: Spread, most: int) -> int:
    """Return the fewest pairs that will see a change as small as ``visible``; at most ``most``."""

    def enough(pairs: int) -> bool:
        return found.sees(pairs) <= visible

    return bisect_left(range(most), True, lo=FEWEST, key=enough)  # noqa: FBT003  # what is sought


def spread(groups: Sequence[Sequence[float]]) -> Spread:
    """Pool the variances of ``groups`` of log ratios, each about its own mean.

    Heavier tails than normal ones, as where some conditions are noisier than others, cost degrees
    of freedom: 2 n / (kurtosis - 1), from the variance of a sample variance. Each group is in the
    order in which it was measured.
    """
    known = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    if not known:
        return Spread(math.nan, sum(len(group) for group in groups), 0.0)
    residuals = np.concatenate([values - values.mean() for values in known])
    size, freedom = residuals.size, residuals.size - len(known)
    lag1 = float(np.mean([autocorrelation(values) for values in known]))
    sd = math.sqrt(float(residuals @ residuals) / freedom) * inflation(lag1, size)
    return Spread(sd, size, min(freedom, 2 * size / (_kurtosis(residuals) - 1)))


def inflation(lag1: float, size: int) -> float:
    """Return by how much autocorrelation widens the mean of ``size`` pairs (AR(1)); 1 if unseen."""
    return math.sqrt((1 + lag1) / (1 - lag1)) if _resemble(size, lag1) else 1.0


def judge(effect: Estimate, control: Estimate | None, margin: float = MARGIN) -> Verdict:
    """Put an estimate in words, given the A/A control of the same run."""
    if effect.pairs < FEWEST:
        return Verdict(Word.INVALID, f"{effect.pairs} valid pairs, {FEWEST} are the fewest")
    if control is not None and control.pairs >= FEWEST and control.p < AA_ALPHA:
        return Verdict(Word.INVALID, f"the A/A control differs by {control.mean:+.1%}")
    if effect.p < ALPHA and effect.high < 0:
        return Verdict(Word.SLOWER)
    if effect.p < ALPHA and effect.low > 0:
        return Verdict(Word.FASTER)
    if -math.log1p(margin) <= effect.low and effect.high <= math.log1p(margin):
        return Verdict(Word.EQUIVALENT, f"{margin:.0%}")
    return Verdict(Word.INDISTINCT, f"{effect.sees:.1%}")


def sign_flip_p(values: Floats, rng: np.random.Generator, draws: int = _RESAMPLES) -> float:
    """Return the share of sign patterns whose mean is as far from 0 as the observed one."""
    size = values.size
    if size <= _EXACT:
        patterns = np.arange(2**size)[:, None] >> np.arange(size) & 1
        means = (1.0 - 2.0 * patterns) @ values
        return float(np.mean(_as_far(means, values)))
    signs = rng.integers(0, 2, size=(draws, size), dtype=np.int8) * 2.0 - 1.0
    return float((1 + np.sum(_as_far(signs @ values, values))) / (1 + draws))


def autocorrelation(values: Floats) -> float:
    """Return the lag-1 autocorrelation; 0 where there is too little to tell."""
    centred = values - values.mean()
    power = float(centred @ centred)
    if values.size < FEWEST or power == 0.0:
        return 0.0
    return float(centred[1:] @ centred[:-1] / power)


def block_length(size: int, lag1: float) -> int:
    """Return how many neighbours the bootstrap draws together (Carlstein's rule for AR(1)).

    One where the autocorrelation is within what ``size`` independent values show by chance,
    or negative: blocks would then narrow the interval, and that is not wanted.
    """
    if not _resemble(size, lag1):
        return 1
    bounded = min(lag1, 0.99)
    length: float = (math.sqrt(6) * bounded / (1 - bounded**2)) ** (2 / 3) * size ** (1 / 3)
    return max(1, min(math.ceil(length), size // 3))


def _resemble(size: int, lag1: float) -> bool:
    """Whether neighbours resemble each other more than ``size`` independent values may."""
    return lag1 > 2 / math.sqrt(size)


def _bootstrap_means(
    values: Floats, length: int, resamples: int, rng: np.random.Generator
) -> Floats:
    size = values.size
    starts = rng.integers(0, size, size=(resamples, math.ceil(size / length), 1))
    indexes = (starts + np.arange(length)) % size
    means: Floats = values[indexes.reshape(resamples, -1)[:, :size]].mean(axis=1)
    return means


def _interval(means: Floats, values: Floats) -> tuple[float, float]:
    size = values.size
    if size < 2:  # noqa: PLR2004  # one value has no spread: say that nothing is known
        return -math.inf, math.inf
    expanded = math.sqrt(size / (size - 1)) * _student((1 + LEVEL) / 2, size - 1)
    tail = 1 - NormalDist().cdf(expanded)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _as_far(sums: Floats, values: Floats) -> NDArray[np.bool_]:
    tolerance = 1e-12 * float(np.abs(values).sum())
    far: NDArray[np.bool_] = np.abs(sums) >= abs(float(values.sum())) - tolerance
    return far


def _sd(values: Floats) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else 0.0


def _student(quantile: float, freedom: int) -> float:
    """Return Student's t quantile by its expansion around the normal one.

    Abramowitz and Stegun 26.7.5; within 1 % from 3 degrees of freedom on, at 97.5 %.
    """
    z = NormalDist().inv_cdf(quantile)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def _chi_squared(quantile: float, freedom: float) -> float:
    """Return chi-squared's quantile by Wilson and Hilferty (1931); from 1 degree of freedom on.

    Too low for very few degrees, never below a hundredth of the mean: the limit errs upwards.
    """
    part = 2 / (9 * freedom)
    root = 1 - part + NormalDist().inv_cdf(quantile) * math.sqrt(part)
    return freedom * max(root**3, 0.01)


def _kurtosis(residuals: Floats) -> float:
    """Return how heavy the tails are; at least 3, those of a normal distribution."""
    power = float(np.mean(residuals**2))
    return max(3.0, float(np.mean(residuals**4)) / power**2) if power > 0 else 3.0
