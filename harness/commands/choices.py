"""Options that several commands share, beside the cluster's."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from harness.enforcers import make_enforcer, make_enforcers
from harness.enforcers.registry import CHOICES
from harness.options import PatientOption
from harness.results import require_writable


def is_given(ctx: click.Context, name: str) -> bool:
    """Whether a person gave the option with this name in code; else it has its default."""
    return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT


def _writable(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """Find out now whether a run's folder can be made."""
    del ctx, param
    require_writable(value)
    return value


def _checked(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether the words name an enforcer; nothing of it is started."""
    del ctx, param
    make_enforcer(value)
    return value


def _all_checked(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Find out now whether the words name enforcers that can be measured beside each other."""
    del ctx, param
    make_enforcers(value)
    return value


enforcers_option = click.option(
    "--enforcer",
    "enforcers",
    cls=PatientOption,
    callback=_all_checked,
    metavar="WHICH",
    multiple=True,
    default=("bundled",),
    show_default=True,
    help=f"{CHOICES}. Repeated: all of them in one run, interleaved.",
)
"""``--enforcer`` of a command that takes several."""

enforcer_option = click.option(
    "--enforcer",
    cls=PatientOption,
    callback=_checked,
    metavar="WHICH",
    default="bundled",
    show_default=True,
    help=f"{CHOICES}.",
)
"""``--enforcer``, whose mistakes are told together with those of the cluster options."""

results_option = click.option(
    "--results",
    cls=PatientOption,
    callback=_writable,
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where the run's folder is made.",
)
"""``--results``, likewise."""
