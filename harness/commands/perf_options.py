"""What ``harness perf`` may be asked, and what is wrong with what it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from harness.commands.choices import enforcers_option
from harness.measure.plan import ELSEWHERE, Arm, Placement
from harness.measure.windows.instrument import EVENTS
from harness.options import PatientOption
from harness.workload.sweep import MOST, Quantity

DEFAULT_BUDGET = 540.0
"""Seconds: about ten minutes with what surrounds it."""

LEAST_PRECISION = 0.001
"""Finer is not told from requests per second on any machine that does other work."""

SERVICES_PER_NODE = 10
"""As the study's 1,000 Services on 100 nodes: 20, 60 and 80 pods a node at 2, 6 and 8 each."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of this command, apart from the cluster's."""

    enforcers: tuple[str, ...]
    full: bool
    tiny: bool
    sizes: tuple[int, ...]
    rounds: int | None
    budget: float | None
    precision: float | None
    arms: tuple[Arm, ...]
    elsewhere: tuple[Placement, ...] | None
    """None: as the size of the run has it."""

    seed: int
    processes: int = 1
    load_image: str = ""
    changes: bool = False
    events: int = EVENTS
    quantity: Quantity = Quantity.PODS
    """Of what the sizes are numbers."""


def _sizes(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{value!r}: numbers separated by commas, as in 2,6,8")
    sizes = tuple(int(part) for part in parts)
    if sizes[0] < 1 or sorted(set(sizes)) != list(sizes):
        raise click.BadParameter(f"{value!r}: each size must be larger than the one before")
    return sizes


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a run varies, and how much of it, as sizes of its design."""

    quantity: Quantity
    sizes: tuple[int, ...]


def _sweep(ctx: click.Context, param: click.Parameter, value: str | None) -> Sweep | None:
    if value is None:
        return None
    known = {each.value: each for each in Quantity}
    name, _, numbers = value.partition("=")
    if name not in known:
        raise click.BadParameter(
            f"{value!r}: what is swept is one of {', '.join(known)}, as in pods=20,60,80,250"
        )
    sizes = _sizes(ctx, param, numbers)
    if known[name] is not Quantity.PODS:
        if sizes[-1] > MOST:
            raise click.BadParameter(f"{value!r}: there are at most {MOST}")
        return Sweep(known[name], sizes)
    if any(number % SERVICES_PER_NODE for number in sizes):
        raise click.BadParameter(f"{value!r}: pods a node come in tens: one more a service")
    return Sweep(Quantity.PODS, tuple(number // SERVICES_PER_NODE for number in sizes))


def _arms(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[Arm, ...]:
    known = {arm.value: arm for arm in Arm}
    names = [part.strip() for part in value.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(
            f"{value!r}: {', '.join(map(repr, unknown))}: no such arm; there are {', '.join(known)}"
        )
    if not {Arm.OFF.value, Arm.ON.value} <= set(names):
        raise click.BadParameter(f"{value!r}: off and on belong to every run; name them, too")
    return tuple(arm for arm in Arm if arm.value in names)


def _elsewhere(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[Placement, ...] | None:
    if value is None:
        return None
    known = {each.value: each for each in ELSEWHERE}
    names = [part.strip() for part in value.split(",")] if value != "none" else []
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(
            f"{value!r}: {', '.join(map(repr, unknown))}: no such placement; there are "
            f"{', '.join(known)}, or none"
        )
    return tuple(each for each in ELSEWHERE if each.value in names)


def _share(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: a percentage such as 3%") from error
    if not LEAST_PRECISION <= share < 1:
        raise click.BadParameter(f"{value!r}: at least {LEAST_PRECISION:.1%} and below 100%")
    return share


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    number, unit = (value[:-1], value[-1:]) if value[-1:] in _UNITS else (value, "m")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{value!r}: a time such as 90s, 10m or 1h")
    return seconds


_OPTIONS = (
    enforcers_option,
    click.option(
        "--arms",
        cls=PatientOption,
        callback=_arms,
        metavar="ARM,ARM,...",
        default="off,on",
        show_default=True,
        help="What is compared with off: on; rules (acting, the daemon stopped); idle (daemon "
        "running, no policy); bare (off, and nothing tracked: straight to the pods).",
    ),
    click.option(
        "--placements",
        "elsewhere",
        cls=PatientOption,
        callback=_elsewhere,
        metavar="PLACE,PLACE,...",
        help=f"Beside the sweep from outside through the Service, at concurrency 64 and in the "
        f"largest size: {', '.join(each.value for each in ELSEWHERE)}, or none. With --full all "
        "of them, otherwise none by default.",
    ),
    click.option("--full", is_flag=True, help="The study's size: 100 nodes, 1,000 services."),
    click.option("--tiny", is_flag=True, help="Seconds, not minutes: does the machinery work?"),
    click.option(
        "--sizes",
        cls=PatientOption,
        callback=_sizes,
        metavar="N,N,...",
        default="2,6,8",
        show_default=True,
        help="Pods per interfering service; one panel each.",
    ),
    click.option(
        "--sweep",
        cls=PatientOption,
        callback=_sweep,
        metavar="WHAT=N,N,...",
        help=f"Draws the cost against WHAT, instead of --sizes: pods (a node, in tens: "
        f"{SERVICES_PER_NODE} services a node), peers (of a rule), policies (that select the "
        "measured pods), rules (of a policy); hosts that never come are let in by these.",
    ),
    click.option(
        "--budget",
        cls=PatientOption,
        callback=_seconds,
        metavar="TIME",
        default=f"{DEFAULT_BUDGET:.0f}s",
        show_default=True,
        help="Time of the whole run, as 90s, 10m or 1h; it decides the number of rounds. By "
        "default a quarter more for each enforcer beside the first; 20m with --full.",
    ),
    click.option(
        "--precision",
        cls=PatientOption,
        callback=_share,
        metavar="PERCENT",
        help="The smallest effect to see, as 3%: as many rounds as the pilot says it takes, "
        "within --budget where that is given.",
    ),
    click.option(
        "--rounds",
        cls=PatientOption,
        type=click.IntRange(min=1),
        help="Rounds of blocks, instead of as many as the budget allows.",
    ),
    click.option(
        "--processes",
        cls=PatientOption,
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Processes of locust: one takes a core for some 2,000 requests a second.",
    ),
    click.option(
        "--load-image",
        cls=PatientOption,
        default="",
        metavar="NAME:TAG",
        help="On real clusters: an image with locust (nox -s image makes npd-load; kind's nodes get"
        " it from docker's store), which then runs in pods, a master and as many workers as"
        " --processes; without it locust is not run.",
    ),
    click.option(
        "--changes",
        is_flag=True,
        help="Measure instead how soon changes act, with and without churn, and what the daemons "
        "take: CPU time, memory, rules, sets.",
    ),
    click.option(
        "--events",
        cls=PatientOption,
        type=click.IntRange(min=1),
        default=EVENTS,
        show_default=True,
        help="With --changes: events of each kind.",
    ),
    click.option(
        "--seed",
        cls=PatientOption,
        type=int,
        default=2018,
        show_default=True,
        help="Of the coin that draws the order of blocks, and of the bootstrap.",
    ),
)


def perf_options(function: Any) -> Any:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
