"""``harness functional``: is an enforcer correct? The study's table, judged with real packets."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest
from click.core import ParameterSource

from harness.commands import windows
from harness.commands.choices import enforcer_option
from harness.errors import Interrupted, UsageError
from harness.matrix import pytest_plugin
from harness.matrix.scenario import folder, load_scenario
from harness.options import CLUSTER_OPTIONS, ClusterSettings, PatientOption, cluster_options
from harness.results import require_writable

_SETTINGS = Path(pytest_plugin.__file__).with_name("functional.ini")
_LEAST_NODES = 2
"""The matrix needs a same node and another one."""
_OWN = ("enforcer", "probe_timeout", "results")


def _writable(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether results can be written there."""
    del ctx, param
    require_writable(Path(value))
    return value


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Everything else is handed to pytest: -k same_node, -x, --lf, -m study, --junitxml=F.",
)
@cluster_options(least_nodes=_LEAST_NODES)
@enforcer_option
@click.option(
    "--probe-timeout",
    cls=PatientOption,
    type=click.FloatRange(1, 10_000),
    default=250.0,
    show_default=True,
    help="Milliseconds of silence that count as dropped, at least; ten times the slowest answer"
    " of the step, if that is more.",
)
@click.option(
    "--results",
    cls=PatientOption,
    callback=_writable,
    default="results",
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--windows",
    is_flag=True,
    help="Measure instead for how long the enforcer is wrong after changes, restarts and starts.",
)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    settings: ClusterSettings,
    pytest_arguments: tuple[str, ...],
    **own: Any,
) -> None:
    """Judge an enforcer with real packets: the documented policies, the study's six rows.

    Runs routed and bridged (bridge-nf-call-iptables off), or what --cni names. Ends with 0 only if
    everything was as expected; the last line is the path of the report.
    """
    if own["windows"]:
        windows.measure(settings, own["enforcer"], Path(own["results"]))
        return
    del settings, own  # pytest is told again what was given
    load_scenario(_cases())  # mistakes in it are told before anything is built
    catcher = _Catcher()
    arguments = _arguments([*_given(ctx), *pytest_arguments])
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = pytest.main(arguments, plugins=[pytest_plugin, catcher])
    finally:
        signal.signal(signal.SIGTERM, before)
    _finish(ctx, int(status), catcher)


def _cases() -> Path:
    return folder() / "study" / "cases.yaml"


def _given(ctx: click.Context) -> list[str]:
    """Return our own options as they were given, for pytest, which knows the same ones."""
    names = {option.key: option.name for option in CLUSTER_OPTIONS}
    names |= {key: key.replace("_", "-") for key in _OWN}
    default = ParameterSource.DEFAULT
    return [
        f"--{name}={ctx.params[key]}"
        for key, name in names.items()
        if ctx.get_parameter_source(key) is not default
    ]


def _arguments(given: list[str]) -> list[str]:
    named = any(".yaml" in argument for argument in given)
    cases = [] if named else [str(_cases())]
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does: pytest takes everything down and writes what it has."""
    del number, frame
    raise KeyboardInterrupt


def _finish(ctx: click.Context, status: int, caught: _Catcher) -> None:
    session = caught.session
    if session and session.problem:
        raise session.problem
    match pytest.ExitCode(status):
        case pytest.ExitCode.USAGE_ERROR:
            raise UsageError("pytest did not understand its arguments; see above")
        case pytest.ExitCode.NO_TESTS_COLLECTED:
            raise UsageError("no case was selected; see -k, -m and the paths given")
        case pytest.ExitCode.INTERRUPTED if not caught.interrupted:
            raise UsageError("a scenario cannot be read; see above")
        case pytest.ExitCode.INTERRUPTED:
            raise Interrupted("interrupted; everything was taken down")
    if session and session.report:
        click.echo(session.report)
    ctx.exit(0 if status == 0 else 1)
