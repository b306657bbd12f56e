"""Options that several commands share, beside the cluster's."""

from __future__ import annotations

import click

from harness.enforcers import make_enforcer
from harness.enforcers.registry import CHOICES
from harness.options import PatientOption


def _checked(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether the words name an enforcer; nothing of it is started."""
    del ctx, param
    make_enforcer(value)
    return value


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
