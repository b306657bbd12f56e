"""What locust counted, from a recording of a real run in which one of three targets refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.load import locust

RECORDED = Path(__file__).parent / "recorded" / "locust.json"


def test_totals_rate_and_percentiles() -> None:
    """Requests, failures, rate and percentiles come from locust's own totals."""
    report = locust.parse(RECORDED)

    assert (report.requests, report.failures) == (14977, 4995)
    assert report.rps == pytest.approx(14977 / (1795399063.3758497 - 1795399060.5928774))
    assert report.percentiles_ms == {50: 1.0, 90: 3.0, 95: 3.0, 99: 4.0, 100: 16.0}


@pytest.mark.parametrize("content", [None, "", "[]"])
def test_a_locust_that_counted_nothing_is_an_error(tmp_path: Path, content: str | None) -> None:
    """No totals is no result: the error names the file."""
    totals = tmp_path / "off.json"
    if content is not None:
        totals.write_text(content)

    with pytest.raises(HarnessError, match=r"off\.json"):
        locust.parse(totals)


def test_the_targets_and_the_source_reach_the_users(tmp_path: Path) -> None:
    """The locustfile reads its targets and its source address from the environment."""
    crowd = locust.Crowd(["http://10.96.0.1/", "http://10.96.0.2/"], "14.215.0.10", 5, 3)

    assert crowd.env()["NPD_TARGETS"] == "http://10.96.0.1/ http://10.96.0.2/"
    assert crowd.env()["NPD_SOURCE"] == "14.215.0.10"
    assert str(locust.LOCUSTFILE) in crowd.argv(tmp_path / "off")
    assert locust.LOCUSTFILE.exists()
