"""Cases as pytest items: one item is a case in an environment, seen at one placement.

``harness functional`` runs pytest with this plugin, so ``-k same_node``, ``-x``, ``--lf``, ``-m``
and ``--junitxml`` work as everywhere. The items of a case share one run, which is made when the
first of them is; what judges them is :mod:`harness.matrix.engine`.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

# pytest takes every name of a plugin that starts with `pytest_` for a hook
from harness import options as cluster_options
from harness.clusters import make_cluster
from harness.clusters.base import Cluster
from harness.clusters.existing.border import Border
from harness.enforcers import make_enforcer
from harness.errors import HarnessError, UsageError
from harness.matrix.axes import Placement
from harness.matrix.compare import Finding, Mark
from harness.matrix.covering import Choice
from harness.matrix.environments import Environment
from harness.matrix.guests import KUBECONFIG
from harness.matrix.planning import ADD_OPTIONS, Chosen, choose_runs, fit_together
from harness.matrix.reading import Api, GuestApi, KubernetesApi
from harness.matrix.run import MatrixRun, Plan
from harness.matrix.scenario import Scenario
from harness.matrix.steps import CaseRun
from harness.matrix.summary import print_summary
from harness.matrix.watching import Patience
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
    for add in ADD_OPTIONS:
        add(group)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a run; nothing is brought up yet."""
    session = MatrixSession(config)
    config.pluginmanager.register(session, _NAME)
    for environment in session.chosen.choice.runs:
        for word in _words(environment):
            config.addinivalue_line("markers", f"{word}: a value of an axis of environments")


def _words(environment: Environment) -> set[str]:
    return {environment.name, environment.wiring.value, environment.proxy.value}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a group of cases."""
    session = session_of(parent.config)
    if file_path.resolve() not in {one.path.resolve() for one in session.chosen.groups}:
        return None
    return CasesFile.from_parent(parent, path=file_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put together what runs on one cluster: one is in use at a time."""
    items.sort(key=lambda item: item.place if isinstance(item, MatrixItem) else (0, "", 0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what is left after -k, -m and --lf for the plan."""
    found = [item for item in session.items if isinstance(item, MatrixItem)]
    session_of(session.config).keep(found)


def session_of(config: pytest.Config) -> MatrixSession:
    """Return the run that belongs to a pytest run."""
    found = config.pluginmanager.get_plugin(_NAME)
    if not isinstance(found, MatrixSession):
        raise TypeError("the functional run was not prepared")
    return found


class MatrixSession:
    """What one pytest run holds: the matrix run, its folder, what stopped it."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options; raises UsageError if any is wrong."""
        self._config = config
        self.problem: Exception | None = None
        self.report: Path | None = None
        self.chosen: Chosen = choose_runs(config)
        self._run: MatrixRun | None = None
        self._folder = None if config.option.collectonly else self._make_folder()
        if self._folder is not None and not config.option.xmlpath:
            config.option.xmlpath = str(self._folder.path / _JUNIT)

    def _make_folder(self) -> RunFolder:
        option = self._config.option
        names = {
            one.name: dataclasses.asdict(one.settings(self.chosen.base))
            for one in self.chosen.choice.runs
        }
        return RunFolder.create(
            option.results,
            cluster=self.chosen.base.cluster,
            scenario="functional",
            command=["harness", *sys.argv[1:]],
            settings=names
            | {"enforcer": option.enforcer, "probe_timeout_ms": option.probe_timeout},
        )

    def keep(self, items: Iterable[MatrixItem]) -> None:
        """Plan the runs of these items alone."""
        wanted = {one.key for one in items}
        runs = {
            environment: tuple(case for case in cases if (case, environment) in wanted)
            for environment, cases in self.chosen.choice.runs.items()
        }
        left = Choice({environment: cases for environment, cases in runs.items() if cases})
        self.chosen = dataclasses.replace(self.chosen, choice=left)

    def case(self, case: str, environment: Environment) -> CaseRun:
        """Run a case, or return it; what stops the whole run is remembered."""
        try:
            return self._matrix().case(case, environment)
        except Exception as error:
            self.problem = error
            raise

    def _matrix(self) -> MatrixRun:
        if self._run is None:
            option, chosen = self._config.option, self.chosen
            plan = Plan(
                chosen.groups,
                chosen.choice,
                self._cluster,
                lambda: make_enforcer(option.enforcer, chosen.base.cluster),
                chosen.profile,
                Patience(probe=option.probe_timeout / 1000),
                chosen.selection,
                chosen.reasons,
                self._api,
                fit_together(chosen.base),
            )
            self._run = MatrixRun(plan, self._folder or self._make_folder(), self._say)
        return self._run

    def _api(self, kubeconfig: Path) -> Api:
        base = self.chosen.base
        if base.cluster == KUBECONFIG:
            return GuestApi(kubeconfig, Border(frozenset(base.namespaces)))
        return KubernetesApi(kubeconfig)

    def _cluster(self, environment: Environment) -> Cluster:
        return make_cluster(environment.settings(self.chosen.base))

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
        self.report = self._run.finish()
        reason = {"reason": str(self.problem)} if self.problem else {}
        status = "invalid" if self.problem else _STATUS.get(exitstatus, "partial")
        self._run.folder.finish(status, **reason)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Any:
        """Print no dot for each item: a case's wrong cells are said once, by the engine."""
        if report.passed and report.when == "call":
            return "passed", "", "PASSED"
        if report.failed and report.when == "call":
            return "failed", "", "FAILED"
        return None

    def pytest_terminal_summary(self) -> None:
        """Print what was found, in twenty lines."""
        if self._run is not None and self._run.written is not None:
            print_summary(_console(), self._run.written)

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


class CasesFile(pytest.File):
    """A group: its cases in their environments, at each placement."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return the items that were chosen."""
        chosen = session_of(self.config).chosen
        group = next(one for one in chosen.groups if one.path.resolve() == self.path.resolve())
        own = {case.id: at for at, case in enumerate(group.cases)}
        for number, (environment, cases) in enumerate(chosen.choice.runs.items()):
            for case in cases:
                if case in own:
                    order = (number, str(group.workload_path), chosen.order[case])
                    yield from self._items(group, case, environment, order)

    def _items(
        self, group: Scenario, case: str, environment: Environment, order: tuple[int, str, int]
    ) -> Iterator[pytest.Item]:
        selection = session_of(self.config).chosen.selection
        for placement in Placement:
            if not selection.takes("placement", placement):
                continue
            name = f"{case}[{environment.name}-{placement.value}]"
            # Told whole: pytest 9.2 would not know its own id of a name with brackets again
            nodeid = f"{self.nodeid}::{name}"
            item: MatrixItem = MatrixItem.from_parent(self, name=name, nodeid=nodeid)
            item.ask(case, environment, placement, order)
            for mark in {*_words(environment), placement.value}:
                item.add_marker(mark)
            if group.case(case).study:
                item.add_marker("study")
            yield item


class MatrixItem(pytest.Item):
    """A case in an environment, at one placement."""

    place: tuple[int, str, int]
    key: tuple[str, Environment]
    """The run that it looks at."""

    def ask(
        self,
        case: str,
        environment: Environment,
        placement: Placement,
        order: tuple[int, str, int],
    ) -> None:
        """Say what this item is about."""
        self._case, self._environment, self._placement = case, environment, placement
        self.key = case, environment
        self.place = order

    def runtest(self) -> None:
        """Run the case if nobody has, and look at the cells of this placement."""
        try:
            run = session_of(self.config).case(self._case, self._environment)
        except Exception as error:
            self.session.shouldstop = f"the run cannot go on: {error}"
            raise
        lines = tuple(self._wrong(run))
        if lines:
            raise NotAsExpectedError(lines)

    def _wrong(self, run: CaseRun) -> Iterator[str]:
        for step in run.steps:
            for finding in step.findings:
                if finding.cell.placement is self._placement and not finding.right:
                    yield f"step {step.number}: {describe(finding)}"
            for refusal in step.refusals if self._placement is Placement.CONTROL else ():
                if refusal.said is None:
                    yield f"step {step.number}: the API took {refusal.name}, which is invalid"
        for finding in run.lingering:
            if finding.cell.placement is self._placement:
                yield f"after everything was taken back: {describe(finding)}"
        for one in run.disagreements:
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
        f"{detail}{_REMARKS.get(finding.mark, '')}: {wanted.judgement}"
    )


_REMARKS = {
    Mark.UNPROVED: ", without a positive control",
    Mark.MANNER: ", denied in another manner than the profile says",
}


__all__ = ["MatrixSession", "UsageError"]
