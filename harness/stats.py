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
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

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

_RESAMPLES = 4000
_EXACT = 12  # pairs up to which all 2**n sign patterns are counted


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
    def sees(self) -> float:
        """The smallest effect that as many pairs of this spread would show, as a fraction."""
        return smallest_visible(self.sd, self.pairs)


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
    if lag1 <= 2 / math.sqrt(size):
        return 1
    bounded = min(lag1, 0.99)
    length: float = (math.sqrt(6) * bounded / (1 - bounded**2)) ** (2 / 3) * size ** (1 / 3)
    return max(1, min(math.ceil(length), size // 3))


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
