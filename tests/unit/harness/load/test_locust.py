"""What locust counted, and when a step of it says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.load import locust
from harness.load.locust import Steps

STEPS = Steps(rates=(100, 200), each=2.0)


def entry(name: str, requests: int, **times: int) -> dict[str, Any]:
    """Return a name's totals as locust writes them: ``ms5=3`` is three answers after 5 ms."""
    counted = {f"{ms[2:]}.0": count for ms, count in times.items()}
    return {"name": name, "num_requests": requests, "num_failures": 1, "response_times": counted}


def written(folder: Path, *entries: dict[str, Any], cpu: str = "") -> Path:
    """Write what locust leaves behind; return the prefix of it."""
    (folder / "off.json").write_text(json.dumps(entries))
    (folder / "off-cpu").mkdir()
    (folder / "off-cpu" / "17.txt").write_text(cpu)
    return folder / "off"


IDLE = "0 10.0 1.0\n1 12.0 1.2\n2 14.0 1.4\n"
FULL = (
    entry("0 arrival", 200, ms5=199, ms90=1),
    entry("0 service", 200, ms1=200),
    entry("1 arrival", 400, ms2=380, ms30=20),
    entry("1 service", 400, ms2=400),
)


def test_each_step_has_its_rate_and_its_percentiles_from_both_moments(tmp_path: Path) -> None:
    """Times are told from when a request was due, and from when it was sent."""
    report = locust.parse(written(tmp_path, *FULL, cpu=IDLE), STEPS)

    assert (report.requests, report.failures, report.rps) == (600, 2, 150.0)
    first, second = report.steps
    assert (first.rate, first.arrived, second.arrived) == (100, 100.0, 200.0)
    assert first.arrival.percentiles_ms == {50: 5.0, 90: 5.0, 95: 5.0, 99: 5.0, 100: 90.0}
    assert first.service.percentiles_ms[100] == 1.0
    assert second.arrival.percentiles_ms[95] == 2.0
    assert second.arrival.percentiles_ms[99] == 30.0
    assert [step.void for step in report.steps] == ["", ""]


def test_a_step_in_which_locust_was_at_its_limit_is_void(tmp_path: Path) -> None:
    """The busiest process counts, in the step in which it was busy."""
    prefix = written(tmp_path, *FULL, cpu=IDLE)
    (tmp_path / "off-cpu" / "18.txt").write_text("0 10.0 1.0\n1 12.0 1.1\n2 14.0 3.0\n")

    first, second = locust.parse(prefix, STEPS).steps

    assert first.busiest == pytest.approx(0.1)
    assert first.void == ""
    assert second.void == "a process of locust took 95% of a core"


def test_a_step_whose_requests_were_not_sent_is_void(tmp_path: Path) -> None:
    """A rate that was asked for and not made says nothing about the Services."""
    short = (*FULL[:2], entry("1 arrival", 300, ms2=300), entry("1 service", 300, ms2=300))

    _, second = locust.parse(written(tmp_path, *short, cpu=IDLE), STEPS).steps

    assert second.void == "150 of 200 requests a second were sent"


@pytest.mark.parametrize("content", [None, "", "[]"])
def test_a_locust_that_counted_nothing_is_an_error(tmp_path: Path, content: str | None) -> None:
    """No totals is no result: the error names the file."""
    totals = tmp_path / "off.json"
    if content is not None:
        totals.write_text(content)

    with pytest.raises(HarnessError, match=r"off\.json"):
        locust.parse(tmp_path / "off", STEPS)
