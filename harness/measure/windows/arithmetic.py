"""From answers and a change to a window. Pure functions; all times in seconds of one clock."""

from __future__ import annotations

import bisect
import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

BEFORE = 10
"""Answers before the change that all have to be of the opposite state."""

SETTLED = 20
"""Answers at the end of an event that all have to be right, for its window to have an end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A probe: when it was sent, and whether it was answered."""

    at: float
    open: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A change: what it leads to, when the API server was asked, and when it had answered."""

    opens: bool
    asked: float
    acknowledged: float


class Void(enum.Enum):
    """Why an event does not count."""

    NOT_OPPOSITE = "the opposite state was not seen just before"
    NEVER = "it was never right for good"
    SILENT = "there are no answers around it"
    NO_ADDRESS = "the pod got no address in time"
    NOBODY = "the client that is let in did not reach it"


@dataclass(frozen=True, slots=True)
class Window:
    """How long the old answer was still given after the acknowledgement.

    ``last_wrong`` is when the last wrong probe was sent, below zero where that was before the
    acknowledgement; ``first_right`` when the first one after it was sent. The truth lies between.
    """

    last_wrong: float
    first_right: float

    @property
    def resolution(self) -> float:
        """How far the truth may be from either."""
        return self.first_right - self.last_wrong


def window(answers: Sequence[Answer], change: Change) -> Window | Void:
    """Return the window of one event; ``answers`` are those around it, in the order of sending."""
    times = [answer.at for answer in answers]
    asked = bisect.bisect_left(times, change.asked)
    before, after = answers[max(0, asked - BEFORE) : asked], answers[asked:]
    if len(before) < BEFORE or len(after) < SETTLED:
        return Void.SILENT
    if any(answer.open is change.opens for answer in before):
        return Void.NOT_OPPOSITE
    if any(answer.open is not change.opens for answer in after[-SETTLED:]):
        return Void.NEVER
    last = max(at for at, one in enumerate(answers) if one.open is not change.opens)
    origin = change.acknowledged
    return Window(answers[last].at - origin, answers[last + 1].at - origin)


def floor(answers: Sequence[Answer], change: Change) -> Window | Void:
    """Return what the instrument would say of a change that alters nothing.

    The last probe before the acknowledgement stands for the last wrong one, the next for the
    first right one: no window below this can be told from none.
    """
    after = bisect.bisect_left([answer.at for answer in answers], change.acknowledged)
    if after == 0 or after == len(answers):
        return Void.SILENT
    origin = change.acknowledged
    return Window(answers[after - 1].at - origin, answers[after].at - origin)


def first_reached(answers: Sequence[Answer], since: float) -> Window | Void:
    """Return when the first answer came, for what nobody can have reached before ``since``."""
    if math.isnan(since):
        return Void.NO_ADDRESS
    first = next((at for at, one in enumerate(answers) if one.open), None)
    if first is None:
        return Void.NEVER
    before = answers[first - 1].at if first else since
    return Window(before - since, answers[first].at - since)


def last_passed(answers: Sequence[Answer], since: float, control: Window | Void) -> Window | Void:
    """Return for how long packets passed that may not; zero where none ever did.

    It counts only where ``control`` shows that there was a server to be reached.
    """
    if isinstance(control, Void):
        return Void.NO_ADDRESS if control is Void.NO_ADDRESS else Void.NOBODY
    passed = max((one.at for one in answers if one.open), default=None)
    if passed is None:
        return Window(0.0, 0.0)
    after = next((one.at for one in answers if one.at > passed), None)
    return Void.NEVER if after is None else Window(passed - since, after - since)


def wrong(answers: Sequence[Answer], change: Change) -> list[Answer]:
    """Return the wrong answers since a change after which nothing may be wrong."""
    return [one for one in answers if one.at >= change.asked and one.open is not change.opens]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all values do not exceed."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
