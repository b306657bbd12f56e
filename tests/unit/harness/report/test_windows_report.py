"""The report of a run of windows is drawn from what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from harness.commands.ending import INTERRUPTED, Ending
from harness.measure.progress import Narrator
from harness.measure.windows import record
from harness.measure.windows.arithmetic import Window
from harness.measure.windows.record import Found, Never, Series
from harness.prober.stream import Flow
from harness.report import windows
from harness.results import RunFolder

FOUND = Found(
    (Series("allow → deny", Flow.NEW, (Window(0.004, 0.008),)),),
    (Never("restarted", Flow.ESTABLISHED, 20, 900, 2, 0.05),),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Make the folder of a run of windows that is under way."""
    return RunFolder.create(
        tmp_path,
        cluster="embedded",
        scenario="windows",
        command=["harness", "functional", "--windows"],
        settings={"enforcer": "mine"},
    )


def test_what_is_stored_is_read_back() -> None:
    """A run is the same value after it was stored and read."""
    assert Found.load(FOUND.stored()) == FOUND


def test_a_stored_run_has_its_tables_and_its_figure(folder: RunFolder) -> None:
    """Windows, wrong answers and the rate of probes come from the run's folder alone."""
    folder.write_json(record.FILE, FOUND.stored() | {"rate": 125})

    said = windows.write(folder).read_text()

    assert "For how long is mine wrong" in said
    assert "125 probes a second" in said
    assert "| allow → deny | new | 1 | 8.0 | 8.0 | 8.0 | 4.0 | - |" in said
    assert "| restarted | established | 20 | 900 | 2 | 50 ms |" in said
    assert (folder.path / "figures" / "windows.svg").stat().st_size > 0


def test_a_run_that_was_interrupted_says_so(folder: RunFolder) -> None:
    """Nothing was found: the run is partial, and its report has the reason."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    ending = Ending(folder, Narrator(Console(quiet=True)), windows.write)

    assert ending.of(interrupted, lambda: "passed") == INTERRUPTED
    assert folder.read_json("run.json")["status"] == "partial"
    assert "Nothing is known: interrupted." in (folder.path / windows.FILE).read_text()
