"""Options that several commands share, beside the cluster's."""

from __future__ import annotations

import click

from harness.enforcers import make_enforcer, make_enforcers
from harness.enforcers.registry import CHOICES
from harness.options import PatientOption


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
