"""Words for a person, where there may be too many of them for one sentence."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5
"""Names in a sentence; of more only the number is told."""


def listed(names: Sequence[str], apart: str = ", ") -> str:
    """Return names for a sentence: the first few, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return apart.join(names[:_SHOWN]) + more
