"""``harness functional``: is an enforcer correct? The suite and the study, with real packets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from harness.clusters import require
from harness.commands import windows
from harness.commands.choices import enforcer_option, is_given, results_option
from harness.commands.consent import yes_option
from harness.commands.ending import terminable
from harness.commands.visiting import agree
from harness.enforcers import make_enforcer
from harness.errors import ClusterError, EnforcerFailed, Interrupted, NotJudged, UsageError
from harness.matrix import pytest_plugin
from harness.matrix.axes import parse_selection
from harness.matrix.guests import KUBECONFIG, amounts
from harness.matrix.listing import lines_of
from harness.matrix.planning import Chosen, Wanted, check_groups, plan_runs
from harness.matrix.scenario import folder
from harness.matrix.versus import compare_runs
from harness.options import CLUSTER_OPTIONS, ClusterSettings, PatientOption, cluster_options

_SETTINGS = Path(pytest_plugin.__file__).with_name("functional.ini")
_LEAST_NODES = 2
"""The matrix needs a same node and another one."""
_OWN = ("enforcer", "probe_timeout", "results", "select", "group", "profile")
_OF_CASES = ("select", "group", "profile", "probe_timeout", "versus", "all_cases", "list")
"""Options that speak of cases."""
_FIXING = ("cni", "bridge_netfilter", "proxy", "ip_family", "bridges")
"""Cluster options that name an environment, so that none is left to choose."""


def _second(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether the words name an enforcer."""
    del ctx, param
    if value:
        make_enforcer(value)
    return value


def _selectable(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether there are such axes and values."""
    del ctx, param
    parse_selection(value)
    return value


def _groups(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _grouped(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether there are such groups."""
    del ctx, param
    check_groups(_groups(value))
    return value


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Everything else is handed to pytest: -k same_node, -x, --lf, -m study, --junitxml=F.",
)
@cluster_options(least_nodes=_LEAST_NODES)
@enforcer_option
@click.option(
    "--versus",
    cls=PatientOption,
    callback=_second,
    metavar="WHICH",
    default="",
    help="A second enforcer: both run the same cases, and a page shows them side by side.",
)
@click.option(
    "--select",
    cls=PatientOption,
    callback=_selectable,
    default="",
    help="Only these values of axes: 'placement=same-node address=ClusterIP,NodePort'. Axes:"
    " placement, address, proxy, wiring, direction, protocol, family, state.",
)
@click.option(
    "--group",
    cls=PatientOption,
    callback=_grouped,
    default="",
    help="Only these groups of cases, apart by commas; generated has a case for every feature.",
)
@click.option(
    "--all-cases",
    is_flag=True,
    help="Every case, generated ones too, in every kind of cluster: hours.",
)
@click.option("--list", is_flag=True, help="Print the cases and their number; run nothing.")
@click.option(
    "--profile",
    cls=PatientOption,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="What the enforcer says of itself: drop or reject, known deviations.",
)
@click.option(
    "--probe-timeout",
    cls=PatientOption,
    type=click.FloatRange(1, 10_000),
    default=250.0,
    show_default=True,
    help="Milliseconds of silence that count as dropped, at least; ten times the slowest answer"
    " of the step, if that is more.",
)
@results_option
@click.option(
    "--windows",
    is_flag=True,
    help="Measure instead for how long the enforcer is wrong after changes, restarts and starts.",
)
@yes_option
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    settings: ClusterSettings,
    pytest_arguments: tuple[str, ...],
    **own: Any,
) -> None:
    """Judge an enforcer with real packets: the study's six rows, and the whole suite.

    By default each case runs once, on kinds of cluster chosen so that every pair of axis values is
    met; with --cni, --bridge-netfilter or --proxy, on that kind alone. Ends with 0 if everything
    was as expected, 1 if not, 2 if it could not run; the last line is the path of the report.
    """
    if own["windows"]:
        _refuse_cases(ctx, pytest_arguments)
        require(settings)
        ctx.exit(windows.measure(settings, own["enforcer"], own["results"]))
    files = tuple(Path(one.partition("::")[0]) for one in pytest_arguments if ".yaml" in one)
    chosen = _choose(settings, {**own, "files": files}, fixed=_is_fixed(ctx))
    if own["list"]:
        for line in lines_of(chosen):
            click.echo(line)
        return
    require(settings)
    given = [*_given(ctx), *pytest_arguments]
    if settings.cluster == KUBECONFIG:
        cases = len({case for cases in chosen.choice.runs.values() for case in cases})
        agree(chosen.base, lambda _: amounts(chosen.groups, cases), yes=own["yes"])
        given.append("--yes")
    status, report = _run(given, own["all_cases"], chosen)
    if own["versus"]:
        second = [word for word in given if not word.startswith(("--enforcer=", "--profile="))]
        other, other_report = _run(
            [*second, f"--enforcer={own['versus']}"], own["all_cases"], chosen
        )
        status = max(status, other)
        if report and other_report:
            report = compare_runs(report.parent, other_report.parent)
    if report:
        click.echo(report)
    ctx.exit(0 if status == 0 else 1)


def _run(given: list[str], all_cases: bool, chosen: Chosen) -> tuple[int, Path | None]:  # noqa: FBT001  # a flag as it was given
    """Run pytest once; returns its exit code, where it is one of a finished run, and the report."""
    catcher = _Catcher()
    flags = ["--all-cases"] if all_cases else []
    with terminable():  # pytest takes everything down and writes what it has
        status = pytest.main(_arguments([*given, *flags], chosen), plugins=[pytest_plugin, catcher])
    return _finished(int(status), catcher)


def _choose(settings: ClusterSettings, own: dict[str, Any], *, fixed: bool) -> Chosen:
    """Find mistakes before anything is built."""
    wanted = Wanted(
        _groups(own["group"]),
        own["select"],
        own["all_cases"],
        own["enforcer"],
        own["profile"],
        fixed,
        own["files"],
    )
    chosen = plan_runs(settings, wanted)
    if not chosen.choice:
        raise UsageError("no case was selected; see --select, --group and --list")
    return chosen


def _refuse_cases(ctx: click.Context, pytest_arguments: tuple[str, ...]) -> None:
    """Raise UsageError for all that speaks of cases where none is run."""
    given = [f"--{key.replace('_', '-')}" for key in _OF_CASES if is_given(ctx, key)]
    if idle := [*given, *pytest_arguments]:
        raise UsageError(f"--windows runs no cases: leave out {', '.join(idle)}")


def _is_fixed(ctx: click.Context) -> bool:
    return any(key in ctx.params and is_given(ctx, key) for key in _FIXING)


def _given(ctx: click.Context) -> list[str]:
    """Return our own options as they were given, for pytest, which knows the same ones."""
    names = {option.key: option.name for option in CLUSTER_OPTIONS}
    names |= {key: key.replace("_", "-") for key in _OWN}
    return [f"--{name}={ctx.params[key]}" for key, name in names.items() if is_given(ctx, key)]


def _arguments(given: list[str], chosen: Chosen) -> list[str]:
    named = any(".yaml" in argument for argument in given if not argument.startswith("--"))
    cases = [] if named else [str(one.path) for one in chosen.groups]
    # Items are named from the scenarios' folder on; what failed last is remembered where one works
    settings = ["-c", str(_SETTINGS), f"--rootdir={folder().parent}"]
    cache = f"cache_dir={Path.cwd() / '.pytest_cache' / 'functional'}"
    return [*settings, "-o", cache, *given, *cases]


class _Catcher:
    """Remembers what pytest does not return: the session, and whether a person ended it."""

    session: pytest_plugin.MatrixSession | None = None
    interrupted = False

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # pytest's own way to stop, as for a scenario that cannot be read, is one of these, too
        self.interrupted = not isinstance(excinfo.value, pytest.Session.Interrupted)

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        self.session = pytest_plugin.session_of(config)


def _told(problem: Exception) -> Exception:
    """Return what ends the command; that there is no verdict has an exit code of its own."""
    if not isinstance(problem, (ClusterError, EnforcerFailed)):
        return problem
    told = NotJudged(str(problem))
    told.__cause__ = problem
    return told


def _finished(status: int, caught: _Catcher) -> tuple[int, Path | None]:
    session = caught.session
    if session and session.problem:
        raise _told(session.problem)
    match pytest.ExitCode(status):
        case pytest.ExitCode.USAGE_ERROR:
            raise UsageError("pytest did not understand its arguments; see above")
        case pytest.ExitCode.NO_TESTS_COLLECTED:
            raise UsageError("no case was selected; see -k, -m and the paths given")
        case pytest.ExitCode.INTERRUPTED if not caught.interrupted:
            raise UsageError("a scenario cannot be read; see above")
        case pytest.ExitCode.INTERRUPTED:
            raise Interrupted("interrupted; everything was taken down")
    return status, session.report if session else None
