"""The command, and what people know of pytest: selection, exit codes, files."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.matrix import pytest_plugin
from harness.matrix.record import load_record
from harness.matrix.watching import Patience

Run = Callable[..., Result]


@pytest.fixture
def functional(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_cluster: Any, fake_enforcer: Any
) -> Run:
    """Return the command, on clusters in memory, with an enforcer that has a defect or none."""
    monkeypatch.chdir(tmp_path)
    quick = Patience(probe=0.01, glance=0.01, guard=0.0, stable=0.0, limit=0.0, pause=0.0)

    def run(*arguments: str, defect: Any = None) -> Result:
        make = fake_cluster if defect is None else functools.partial(fake_cluster, defect)
        monkeypatch.setattr(pytest_plugin, "make_cluster", lambda _: make())
        monkeypatch.setattr(pytest_plugin, "make_enforcer", lambda *_: fake_enforcer())
        monkeypatch.setattr(pytest_plugin, "Patience", lambda **_: quick)
        monkeypatch.setattr(pytest_plugin, "KubernetesApi", fake_cluster.api_of)
        return CliRunner().invoke(main, ["functional", "--group", "study", *arguments])

    return run


def results(tmp_path: Path) -> Path:
    """Return the folder of the only run."""
    (folder,) = (tmp_path / "results").iterdir()
    return folder


def same_node_leaks(packet: Any) -> bool:
    """Let everything pass between pods of one node."""
    return bool(packet.allowed or packet.near)


def test_right_enforcer(functional: Run, tmp_path: Path) -> None:
    """Exit code 0, every file there, and the report's path in the last line."""
    done = functional()

    assert done.exit_code == 0, done.output
    folder = results(tmp_path)
    assert str(folder.relative_to(tmp_path) / "report.html") == done.output.splitlines()[-1]
    names = "matrix.json matrix.png matrix.svg report.html report.md junit.xml run.json env.json"
    assert set(names.split()) <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "run.json").read_text())["status"] == "passed"


def test_failures_are_findings(functional: Run, tmp_path: Path) -> None:
    """A broken enforcer is a Fail in row 6 and exit code 1; the other rows still pass."""
    done = functional("--cni", "bridged", defect=same_node_leaks)

    assert done.exit_code == 1, done.output
    table = (results(tmp_path) / "report.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if "| NP-" in line}
    assert [" Pass " if number < 6 else " Fail " for number in range(1, 7)] == [
        " Pass " if rows[f"NP-STUDY-0{n}"].split("|")[-2].startswith(" Pass") else " Fail "
        for n in range(1, 7)
    ]


def test_selection(functional: Run, tmp_path: Path) -> None:
    """``-k`` chooses items as everywhere; junit.xml lists what ran."""
    done = functional("-k", "same_node and routed and NP-STUDY")
    suite = ET.parse(results(tmp_path) / "junit.xml").getroot()  # noqa: S314  # our own file
    assert {f"NP-STUDY-0{n}[routed-same_node]" for n in range(1, 6)} == {
        case.get("name") for case in suite.iter("testcase")
    }
    assert done.exit_code == 0


def test_stop_at_the_first_failure(functional: Run, tmp_path: Path) -> None:
    """``-x`` ends the run after the first failed item; what was not run is said to be so."""
    done = functional("-x", "--cni", "bridged", defect=same_node_leaks)

    assert done.exit_code == 1
    assert "not run" in (results(tmp_path) / "report.md").read_text()


def test_interrupted_on_its_way(functional: Run, tmp_path: Path) -> None:
    """Ctrl-C in the middle: 130, and reports that say how much was not run, and not "yes"."""
    asked = itertools.count()

    def until_ctrl_c(packet: Any) -> bool:
        if next(asked) > 5_000:
            raise KeyboardInterrupt
        return bool(packet.allowed)

    done = functional("--cni", "routed", defect=until_ctrl_c)

    assert done.exit_code == 130
    folder = results(tmp_path)
    assert json.loads((folder / "run.json").read_text())["status"] == "partial"
    assert "runs of cases were not reached" in (folder / "report.md").read_text()
    assert "runs of cases were not reached" in (folder / "report.html").read_text()
    assert "nothing wrong so far" in done.output
    assert "correct? yes" not in done.output


def test_what_nobody_asked_for_is_not_missing(functional: Run, tmp_path: Path) -> None:
    """The plan is what ``-k`` leaves: a part that was run to its end is no partial run."""
    functional("-k", "NP-STUDY-02", "--cni", "routed")
    record = load_record(results(tmp_path) / "matrix.json")

    assert record.planned == {"routed": ("NP-STUDY-02",)}
    assert not record.missing()


ONE = ("--cni", "bridged", "-k", "NP-STUDY-02")


def told(functional: Run, tmp_path: Path, profile: str, defect: Any = None) -> tuple[int, str]:
    """Run one case by a profile; return the exit code, and what terminal and report say."""
    file = tmp_path / "profile.yaml"
    file.write_text(profile)
    done = functional(*ONE, "--profile", str(file), defect=defect)
    return done.exit_code, done.output + (results(tmp_path) / "report.md").read_text()


def test_dropping_where_the_profile_says_reject(functional: Run, tmp_path: Path) -> None:
    """Who denies in another manner than it says is found out, although nothing leaks."""
    code, words = told(functional, tmp_path, "denies: reject")

    assert code == 1
    assert "(manner)" in words
    said = (results(tmp_path) / "junit.xml").read_text()
    assert "denied in another manner than the profile says" in said


DEVIATION = """
deviations:
  - {id: near, reason: no hook, link: 'https://example.org/1', placements: [same_node]}
"""


def test_a_declared_deviation_that_happens(functional: Run, tmp_path: Path) -> None:
    """What the profile declares fails nothing."""
    code, words = told(functional, tmp_path, DEVIATION, same_node_leaks)

    assert code == 0
    assert "known" in words
    assert "did not happen" not in words


def test_a_declared_deviation_that_no_longer_happens(functional: Run, tmp_path: Path) -> None:
    """It is told, in the terminal and in the report, so that it comes out of the profile."""
    code, words = told(functional, tmp_path, DEVIATION)

    assert code == 0
    assert words.count("declared deviation near did not happen") == 2


def test_two_enforcers_side_by_side(functional: Run, tmp_path: Path) -> None:
    """``--versus``: both on the same cases, a run each, and a page that leads to both."""
    done = functional(*ONE, "--versus", "none", defect=same_node_leaks)

    first, second = sorted((tmp_path / "results").iterdir())
    page = first / "versus.html"
    assert done.exit_code == 1
    assert str(page.relative_to(tmp_path)) == done.output.splitlines()[-1]
    text = page.read_text()
    assert f'href="../{second.name}/report.html"' in text
    assert f'src="../{second.name}/matrix.svg"' in text
    assert text.count("wrong; no change ended as expected") == 2
    assert "NP-STUDY-02" in text


def test_last_failed(functional: Run) -> None:
    """``--lf`` runs what failed last time, and nothing else."""
    functional("--cni", "bridged", defect=same_node_leaks)
    done = functional("--cni", "bridged", "--lf", defect=same_node_leaks)

    assert done.exit_code == 1
    assert "passed" not in done.output.splitlines()[-2]
    assert "failed" in done.output.splitlines()[-2]


def test_nothing_selected(functional: Run, tmp_path: Path) -> None:
    """A selection of nothing is wrong use, and leaves no results behind."""
    done = functional("-k", "nobody")

    assert done.exit_code == 2
    assert not list((tmp_path / "results").iterdir())


def test_another_enforcer_stops_the_run(functional: Run, fake_cluster: Any) -> None:
    """The guard's word is the last one: no verdict, so exit code 2, and no traceback."""
    done = functional(defect="enforcing")

    assert done.exit_code == 2
    assert "another enforcer is active" in done.output
    assert "Traceback" not in done.output
    del fake_cluster


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cni", "overlay"),
        ("--nodes", "1"),
        ("--enforcer", "nothing"),
        ("--probe-timeout", "0"),
        ("--no-such-option",),
    ],
)
def test_wrong_use(functional: Run, arguments: tuple[str, ...]) -> None:
    """Wrong options end with exit code 2 before anything is built."""
    assert functional(*arguments).exit_code == 2
