"""From answers and changes to windows of change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from harness.measure.windows.arithmetic import (
    Answer,
    Change,
    Void,
    Window,
    floor,
    quantile,
    window,
    wrong,
)
from harness.measure.windows.record import Found, Never, Series, never_table, table
from harness.prober.stream import Flow

CLOSES = Change(opens=False, asked=1.0, acknowledged=1.02)


def answers(*spans: tuple[float, float, bool]) -> list[Answer]:
    """Return an answer every 10 ms from the first time of each span to before the second."""
    return [
        Answer(round(first + step / 100, 6), is_open)
        for first, last, is_open in spans
        for step in range(round((last - first) * 100))
    ]


def test_a_window_ends_between_the_last_wrong_and_the_next_right_answer() -> None:
    """Both are told from the acknowledgement on; the truth lies between."""
    found = window(answers((0.0, 1.05, True), (1.05, 2.0, False)), CLOSES)

    assert isinstance(found, Window)
    assert (found.last_wrong, found.first_right) == pytest.approx((0.02, 0.03))
    assert found.resolution == pytest.approx(0.01)


def test_a_change_that_acts_before_its_acknowledgement_ends_below_zero() -> None:
    """An enforcer may be faster than the answer of the API server."""
    found = window(answers((0.0, 1.01, True), (1.01, 2.0, False)), CLOSES)

    assert isinstance(found, Window)
    assert found.last_wrong == pytest.approx(-0.02)


def test_a_relapse_counts_up_to_its_end() -> None:
    """The last wrong answer decides, whatever was right before it."""
    seen = answers((0.0, 1.05, True), (1.05, 1.3, False), (1.3, 1.31, True), (1.31, 2.0, False))
    found = window(seen, CLOSES)

    assert isinstance(found, Window)
    assert found.last_wrong == pytest.approx(0.28)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (answers((0.0, 2.0, False)), Void.NOT_OPPOSITE),
        (answers((0.0, 0.95, True), (0.95, 2.0, False)), Void.NOT_OPPOSITE),
        (answers((0.0, 2.0, True)), Void.NEVER),
        (answers((0.0, 1.9, True), (1.9, 2.0, False)), Void.NEVER),
        (answers((1.0, 2.0, True)), Void.SILENT),
        (answers((0.0, 1.1, True)), Void.SILENT),
        ([], Void.SILENT),
    ],
)
def test_an_event_counts_only_where_the_opposite_was_seen_and_it_ended(
    seen: Sequence[Answer], why: Void
) -> None:
    """What was right before proves nothing; what is never right has no end."""
    assert window(seen, CLOSES) is why


def test_the_floor_is_the_gap_between_two_answers() -> None:
    """Of a change that alters nothing the instrument sees the probes before and after it."""
    found = floor(answers((0.0, 2.0, True)), Change(opens=True, asked=0.9, acknowledged=1.004))

    assert isinstance(found, Window)
    assert (found.last_wrong, found.first_right) == pytest.approx((-0.004, 0.006))
    assert floor([], CLOSES) is Void.SILENT


def test_every_wrong_answer_counts_where_none_may_be() -> None:
    """A restart may not open what is closed, not even for one probe."""
    seen = answers((0.0, 1.5, False), (1.5, 1.52, True), (1.52, 2.0, False))

    assert [one.at for one in wrong(seen, CLOSES)] == [1.5, 1.51]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    """Nothing is made up between two events."""
    assert quantile([4, 1, 3, 2], share) == expected


def test_a_quantile_of_nothing_is_no_number() -> None:
    """An empty series has no median."""
    assert math.isnan(quantile([], 0.5))


def test_a_series_is_stored_and_read_again() -> None:
    """What does not count is kept, with its reason."""
    series = Series.of("allow → deny", Flow.NEW, [Window(0.002, 0.006), Void.NEVER, Void.NEVER])

    again = Series.load(series.stored())

    assert again == series
    assert list(table([again]))[-1] == (
        "| allow → deny | new | 1 | 6.0 | 6.0 | 6.0 | 4.0 | 2: it was never right for good |"
    )


def test_what_may_never_be_wrong_is_told_with_its_answers() -> None:
    """A zero says out of how many."""
    never = Never("killed and restarted", Flow.ESTABLISHED, 20, 5000, 0, 0.0)

    assert list(never_table([never]))[-1] == (
        "| killed and restarted | established | 20 | 5000 | 0 | - |"
    )
    assert Found((), (never,)).stored()["never"][0]["flow"] == "established"
