"""``harness perf`` from its options to its last line, on a fake cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.clusters.base import Cluster
from harness.commands import perf
from harness.errors import UsageError
from harness.measure import blocks


@pytest.fixture
def harness(bed: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a bed whose fakes are what ``harness perf`` makes."""

    def enforcers(specs: tuple[str, ...], _cluster: str) -> Any:
        bed.enforcer.name = specs[0]
        return {specs[0]: bed.enforcer}

    def addresses(_: Cluster) -> Any:
        return bed.lab.addresses(bed.cluster)

    monkeypatch.setattr(perf, "require", lambda _: None)
    monkeypatch.setattr(perf, "make_cluster", lambda *_: bed.cluster)
    monkeypatch.setattr(perf, "make_enforcers", enforcers)
    monkeypatch.setattr(perf, "_addresses", addresses)
    return bed


def run(results: Path, *options: str) -> Result:
    """Run the command with its results below ``results``."""
    return CliRunner().invoke(perf.command, ["--results", str(results), *options])


def report_of(done: Result) -> Path:
    """Return the path that the last line says."""
    return Path(done.output.splitlines()[-1])


def test_the_plan_comes_first_and_the_report_last(harness: Any, tmp_path: Path) -> None:
    """A person reads what will be done and how long it takes; at the end, where it is told."""
    done = run(tmp_path, "--tiny")

    assert done.exit_code == 0, done.output
    assert "What does bundled cost? 2 nodes" in done.output.splitlines()[0]
    assert "seed 2018" in done.output
    assert report_of(done).name == "report.html"
    assert report_of(done).exists()
    assert not harness.cluster.up


def test_everything_that_was_promised_is_in_the_folder(harness: Any, tmp_path: Path) -> None:
    """Settings, machine, plan, blocks, raw outputs, locust, figures and both reports."""
    del harness
    folder = report_of(run(tmp_path, "--tiny", "--seed", "7")).parent

    names = {path.name for path in folder.iterdir()}
    assert names >= {
        *("run.json", "env.json", "study.json", "blocks.csv", "raw", "locust.json"),
        *("enforcer.json", "figures", "report.html", "report.md"),
    }
    run_json = json.loads((folder / "run.json").read_text())
    assert run_json["status"] == "passed"
    assert run_json["settings"]["seed"] == 7
    assert run_json["settings"]["nodes"] == 2


def test_without_an_enforcer_it_is_a_control_run(harness: Any, tmp_path: Path) -> None:
    """``--enforcer none`` measures off against off."""
    del harness
    done = run(tmp_path, "--tiny", "--enforcer", "none")

    assert done.exit_code == 0, done.output
    assert "on/off" not in (report_of(done).parent / "blocks.csv").read_text()


def test_an_interrupted_run_is_partial_and_reported(harness: Any, tmp_path: Path) -> None:
    """Ctrl-C: the report of what was measured, marked; the cluster down; exit code 130."""
    harness.cluster.interrupted_at = 30

    done = run(tmp_path, "--tiny")

    assert done.exit_code == 130
    assert "This run is partial" in report_of(done).read_text()
    assert not harness.cluster.up


def test_a_failed_run_is_reported_and_says_why(harness: Any, tmp_path: Path) -> None:
    """What was measured is reported, and the error is told as an error."""
    harness.cluster.foreign_denials = True

    done = run(tmp_path, "--tiny")

    assert "another enforcer is active" in str(done.exception)
    (html,) = tmp_path.glob("*-perf/report.html")
    assert "another enforcer is active" in html.read_text()


def test_a_run_in_which_no_block_counts_is_invalid(harness: Any, tmp_path: Path) -> None:
    """When every block has failed requests, nothing was measured, and run.json says so."""
    harness.cluster.fails_at = frozenset(range(13, 1000))

    done = run(tmp_path, "--tiny")

    assert done.exception is None, done.exception
    status = json.loads((report_of(done).parent / "run.json").read_text())["status"]
    assert status == "invalid"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sizes", "6,2"), "each size must be larger"),
        (("--sizes", "two"), "numbers separated by commas"),
        (("--budget", "soon"), "a time such as 90s"),
        (("--budget", "-1m"), "a time such as 90s"),
        (("--budget", "nan"), "a time such as 90s"),
        (("--cluster", "minikube"), "--cluster 'minikube' is not known"),
        (("--cluster", "kind", "--sizes", "2,12"), "at most 9 pods a service"),
        (("--cluster", "kind", "--full"), "--full is 100 nodes"),
        (("--sweep", "cores=1,2"), "what is swept is one of pods, peers, policies, rules"),
        (("--sweep", "pods=25"), "pods a node come in tens"),
        (("--sweep", "peers=1,20000"), "at most 10000"),
        (("--sweep", "rules=1,9", "--sizes", "2"), "--sweep and --sizes both say"),
        (("--sweep", "rules=1,9", "--enforcer", "linear-rules=9"), "follows no policies"),
        (("--sweep", "rules=1,9", "--changes"), "--changes goes with sizes"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_built(
    harness: Any, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """A mistake is told in a sentence, and no folder is made."""
    done = run(tmp_path / "runs", *options)

    assert said in done.output + str(done.exception)
    assert not (tmp_path / "runs").exists()
    assert not harness.cluster.runs


def test_options_that_do_not_go_together_are_told_at_once(harness: Any, tmp_path: Path) -> None:
    """Five conflicts are five lines, and no folder is made."""
    words = "--sweep rules=1,9 --sizes 2 --precision 3% --rounds 2 --enforcer none --events 5"

    done = run(tmp_path / "runs", *words.split(), "--nodes", "1", "--placements", "other-node")

    assert isinstance(done.exception, UsageError)
    assert str(done.exception).splitlines() == [
        "--sweep and --sizes both say how many pods there are: give one of them",
        "--precision settles the rounds: leave out --rounds and --tiny",
        "--sweep rules: none follows no policies",
        "events of a kind are --changes': leave out --events",
        "--placements other-node: there is no other node; give --nodes 2 or more",
    ]
    assert not (tmp_path / "runs").exists()
    assert not harness.cluster.runs


def test_full_is_the_studys_size(
    harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``--full`` means 100 nodes and 1,000 interfering services, unless nodes are given."""
    del harness
    asked: list[Any] = []

    def note(plan: Any, _lab: Any) -> int:
        asked.append(plan)
        return 0

    monkeypatch.setattr(perf, "_run", note)

    first = run(tmp_path, "--full", "--budget", "1h")
    second = run(tmp_path, "--full", "--nodes", "3")

    assert "100 nodes, 1000 interfering services, 8002 nginx pods" in first.output
    assert "3 nodes, 30 interfering services" in second.output
    assert [plan.services for plan in asked] == [1000, 30]


@pytest.mark.parametrize("sweep", ["pods=10,40", "policies=1,3"])
def test_a_sweep_that_was_cut_off_is_taken_up_by_its_folder_alone(
    harness: Any, tmp_path: Path, sweep: str
) -> None:
    """``--resume RUN`` has the amounts, the pods and the order from what the run stored."""
    harness.cluster.interrupted_at = 60
    cut = run(tmp_path, "--tiny", "--sweep", sweep)
    assert cut.exit_code == 130, cut.output
    folder = report_of(cut).parent
    harness.cluster.__init__(harness.enforcer)

    done = CliRunner().invoke(perf.command, ["--resume", str(folder)])

    assert done.exit_code == 0, done.output
    rows = blocks.read(folder / blocks.FILE)
    assert [row.block for row in rows[::2]] == list(range(1, len(rows) // 2 + 1))
    assert len({row.size for row in rows}) == 2
    assert json.loads((folder / "run.json").read_text())["status"] == "passed"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--changes", "--rounds", "2", "--seed", "1"), "leave out --rounds, --seed"),
        (("--changes", "--enforcer", "none"), "--enforcer none has none"),
        (("--events", "5"), "leave out --events"),
    ],
)
def test_changes_and_requests_are_measured_apart(
    harness: Any, tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    """An option of the one is wrong use of the other, and nothing is started."""
    results = tmp_path / "results"

    done = run(results, "--tiny", *options)

    assert isinstance(done.exception, UsageError)
    assert complaint in str(done.exception)
    assert not harness.enforcer.calls
    assert not results.exists()


def test_more_enforcers_have_more_time(
    harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A default budget grows by a quarter with each; one that was given does not."""
    asked: list[Any] = []

    def note(plan: Any, _lab: Any) -> int:
        asked.append(plan.budget)
        return 0

    def enforcers(specs: tuple[str, ...], _cluster: str) -> Any:
        return dict.fromkeys(specs, harness.enforcer)

    monkeypatch.setattr(perf, "_run", note)
    monkeypatch.setattr(perf, "make_enforcers", enforcers)
    pair = ("--enforcer", "bundled", "--enforcer", "kube-router-0.2-model")

    for options in (("--full",), ("--full", *pair), ("--budget", "9m", *pair)):
        run(tmp_path, *options)

    assert asked == [1200.0, 1500.0, 540.0]
