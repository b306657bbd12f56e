"""What the machine does while nothing of ours acts: looked at until it no longer falls.

What made the pods, and what watches them, has work for a while after they have come.
"""

from __future__ import annotations

from harness.measure.environment import cpus, load
from harness.measure.voiding import LOAD_SECONDS, Rest

LOOKS = 40
"""Of a window, each of :data:`~harness.measure.voiding.LOAD_SECONDS`."""

QUIET = 0.05
"""Share of the CPUs at which a machine is as calm as it will be."""

_MOST_WINDOWS = 8
_STEP = (
    0.03  # by which a window has to be below the one before, if the load is to be called falling
)


def rest(looks: int = LOOKS) -> Rest:
    """Watch the machine in windows of so many looks until it is calm, or no calmer than before.

    Returns the last two windows, or the first where that is calm already.
    """
    last = _window(looks)
    for _ in range(_MOST_WINDOWS - 1):
        if last.load <= QUIET:
            break
        before, last = last, _window(looks)
        if last.load > before.load - _STEP:
            return Rest((*before.looks, *last.looks), last.cpus)
    return last


def _window(looks: int) -> Rest:
    return Rest(tuple(load(LOAD_SECONDS) for _ in range(looks)), cpus())
