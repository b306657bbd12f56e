"""Cases as pytest items: one item is a case on a wiring, seen at one placement.

``harness functional`` runs pytest with this plugin, so ``-k same_node``, ``-x``, ``--lf``, ``-m``
and ``--junitxml`` work as everywhere. The items of a case share one step, which is run when the
first of them is; what judges them is :mod:`harness.matrix.engine`.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

# pytest takes every name of a plugin that starts with `pytest_` for a hook
from harness import options as cluster_options
from harness.clusters import make_cluster
from harness.clusters.base import Cluster
from harness.enforcers import CHOICES, make_enforcer
from harness.errors import HarnessError, UsageError
from harness.matrix.compare import Finding
from harness.matrix.engine import Patience, Step
from harness.matrix.run import MatrixRun, Plan, Wiring
from harness.matrix.scenario import Placement, Scenario, load_scenario
from harness.matrix.table import print_failures, print_table
from harness.options import ClusterSettings
from harness.results import RunFolder

_NAME = "harness-matrix"
_JUNIT = "junit.xml"
_STATUS = {int(pytest.ExitCode.OK): "passed", int(pytest.ExitCode.TESTS_FAILED): "failed"}
"""How a run ended, by pytest's exit code; whatever else happened, it is only part of a run."""
_LINE = 120
"""Columns of a line where the output is no terminal."""
_SHOWN = 6
"""Wrong cells that a failed item shows; all of them are in the report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the cluster options, and those of a functional run."""
    cluster_options.add_pytest_options(parser)
    group = parser.getgroup("functional", "the functional run")
    group.addoption("--enforcer", default="bundled", help=CHOICES)
    group.addoption("--probe-timeout", type=float, default=250.0, help="milliseconds of silence")
    group.addoption("--results", type=Path, default=Path("results"), help="folder of the results")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a run; nothing is brought up yet."""
    session = MatrixSession(config)
    config.pluginmanager.register(session, _NAME)
    for wiring in session.wirings:
        config.addinivalue_line("markers", f"{wiring}: a way to connect pods to their node")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a scenario's ``cases.yaml``."""
    if file_path.name != "cases.yaml":
        return None
    return CasesFile.from_parent(parent, path=file_path)


def session_of(config: pytest.Config) -> MatrixSession:
    """Return the run that belongs to a pytest run."""
    found = config.pluginmanager.get_plugin(_NAME)
    if not isinstance(found, MatrixSession):
        raise TypeError("the functional run was not prepared")
    return found


def wirings_of(settings: ClusterSettings, arguments: Sequence[str]) -> dict[str, ClusterSettings]:
    """Return the wirings to run: the one that ``--cni`` asks for, else routed and bridged."""
    asked = any(argument.partition("=")[0] == "--cni" for argument in arguments)
    shapes = (settings.cni,) if asked else ("routed", "bridged")
    return {
        _wiring_name(one): one
        for one in (dataclasses.replace(settings, cni=shape) for shape in shapes)
    }


def _wiring_name(settings: ClusterSettings) -> str:
    seen = settings.cni == "bridged" and settings.bridge_netfilter
    return f"{settings.cni}_nf" if seen else settings.cni


class MatrixSession:
    """What one pytest run holds: the matrix run, its folder, what stopped it."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options; raises UsageError if any is wrong."""
        self._config = config
        self.problem: HarnessError | None = None
        self.report: Path | None = None
        self.wirings = wirings_of(
            cluster_options.pytest_settings(config), config.invocation_params.args
        )
        self._run: MatrixRun | None = None
        self._folder = None if config.option.collectonly else self._make_folder()
        if self._folder is not None and not config.option.xmlpath:
            config.option.xmlpath = str(self._folder.path / _JUNIT)

    def _make_folder(self) -> RunFolder:
        option = self._config.option
        return RunFolder.create(
            option.results,
            cluster=next(iter(self.wirings.values())).cluster,
            scenario="functional",
            command=["harness", *sys.argv[1:]],
            settings={n: dataclasses.asdict(s) for n, s in self.wirings.items()}
            | {"enforcer": option.enforcer, "probe_timeout_ms": option.probe_timeout},
        )

    def step(self, scenario: Scenario, case: str, wiring: str) -> Step:
        """Run a case's step, or return it; what stops the whole run is remembered."""
        try:
            return self._run_of(scenario).step(case, wiring)
        except HarnessError as error:
            self.problem = error
            raise

    def _run_of(self, scenario: Scenario) -> MatrixRun:
        if self._run is None:
            option = self._config.option
            plan = Plan(
                scenario,
                tuple(
                    _wiring(name, settings, self._folder) for name, settings in self.wirings.items()
                ),
                lambda: make_enforcer(option.enforcer),
                Patience(probe=option.probe_timeout / 1000),
            )
            self._run = MatrixRun(plan, self._folder or self._make_folder(), self._say)
        return self._run

    def _say(self, text: str) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"  {text}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Take everything down, then write down what was seen."""
        if self._run is None:
            return
        self._run.close()
        self.report = self._run.write()
        reason = {"reason": str(self.problem)} if self.problem else {}
        status = "invalid" if self.problem else _STATUS.get(exitstatus, "partial")
        self._run.folder.finish(status, **reason)

    def pytest_terminal_summary(self) -> None:
        """Print the table and what failed."""
        if self._run is not None and self.report is not None:
            console, record = _console(), self._run.record()
            print_table(console, record)
            print_failures(console, record)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Take down what an interruption left; see that ``junit.xml`` is among the results."""
        if self._folder is None:
            return
        if self._run is None:
            shutil.rmtree(self._folder.path)
            return
        self._run.close()
        written, wanted = Path(self._config.option.xmlpath), self._folder.path / _JUNIT
        if written.exists() and written.absolute() != wanted.absolute():
            shutil.copy(written, wanted)


def _console() -> Console:
    found = Console()
    return found if found.is_terminal else Console(width=_LINE)


def _wiring(name: str, settings: ClusterSettings, folder: RunFolder | None) -> Wiring:
    def make() -> Cluster:
        cluster = make_cluster(settings)
        if folder is not None:
            cluster.logs_to = folder.path / "logs" / name / "cluster"
        return cluster

    return Wiring(name, make)


class CasesFile(pytest.File):
    """A scenario: its cases on each wiring, at each placement."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return the items, all those of one wiring together: one cluster is up at a time."""
        try:
            scenario = load_scenario(self.path)
        except UsageError as error:
            raise self.CollectError(str(error)) from error
        for wiring, settings in session_of(self.config).wirings.items():
            for case in scenario.cases:
                for placement in Placement:
                    name = f"{case.id}[{wiring}-{placement.value}]"
                    # Told whole: pytest 9.2 would not know its own id of a name with brackets again
                    nodeid = f"{self.nodeid}::{name}"
                    item = MatrixItem.from_parent(self, name=name, nodeid=nodeid)
                    item.ask(scenario, case.id, wiring, placement)
                    for mark in (settings.cni, wiring, placement.value):
                        item.add_marker(mark)
                    if case.study:
                        item.add_marker("study")
                    yield item


class MatrixItem(pytest.Item):
    """A case on a wiring, at one placement."""

    def ask(self, scenario: Scenario, case: str, wiring: str, placement: Placement) -> None:
        """Say what this item is about."""
        self._scenario, self._case, self._wiring = scenario, case, wiring
        self._placement = placement

    def runtest(self) -> None:
        """Run the step if nobody has, and look at the cells of this placement."""
        try:
            step = session_of(self.config).step(self._scenario, self._case, self._wiring)
        except HarnessError as error:
            self.session.shouldstop = f"the run cannot go on: {error}"
            raise
        lines = tuple(self._wrong(step))
        if lines:
            raise NotAsExpectedError(lines)

    def _wrong(self, step: Step) -> Iterator[str]:
        for finding in step.findings:
            if finding.cell.placement is self._placement and not finding.right:
                yield describe(finding)
        for finding in step.lingering:
            if finding.cell.placement is self._placement:
                yield f"after the policy was removed: {describe(finding)}"
        for one in step.disagreements:
            if one.cell.placement is self._placement:
                yield str(one)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what was wrong, not where in our code it was noticed."""
        match excinfo.value:
            case NotAsExpectedError() as wrong:
                more = len(wrong.lines) - _SHOWN
                rest = [f"... and {more} more, all in the report"] if more > 0 else []
                return "\n".join([*wrong.lines[:_SHOWN], *rest])
            case HarnessError() as error:
                return str(error)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Name the item in reports."""
        return self.path, None, self.name


class NotAsExpectedError(Exception):
    """Cells of an item were not as expected; one line for each."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        """Take the lines."""
        super().__init__(f"{len(lines)} cells are not as expected")
        self.lines = lines


def describe(finding: Finding) -> str:
    """Say in one line what was expected, what was seen, and what should have decided."""
    wanted, outcome = finding.wanted, finding.outcome
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return (
        f"{finding.cell}: expected {wanted.expected.value}, observed {outcome.verdict.value}"
        f"{detail}: {wanted.judgement}"
    )
