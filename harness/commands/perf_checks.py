"""Whether the options of ``harness perf`` go together, and with the cluster that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from harness.combinations import KIND_PODS
from harness.commands.choices import is_given
from harness.commands.perf_options import SERVICES_PER_NODE, Asked
from harness.enforcers import make_enforcers, present
from harness.errors import UsageError
from harness.measure.plan import ELSEWHERE, NOBODY, Arm, Placement
from harness.options import EMBEDDED, ClusterSettings, embedded_only
from harness.workload import study as workload
from harness.workload.sweep import PODS_EACH, Quantity

TINY_SERVICES = 4

KIND_OWN_PODS = 14
"""On a real node: control plane, proxy, DNS, the harness's and the enforcer's."""

PATH_NODES = 2
"""Where measured packets pass: the servers' node, and that of a client pod on another one."""

_FOLLOW_NOTHING = (NOBODY, "linear-rules")

_OF_REQUESTS = ("arms", "elsewhere", "rounds", "budget", "precision", "seed", "processes")
"""Options of the measurement of requests."""

_FLAGS = {"elsewhere": "placements"}
"""Of options whose names in code are others."""


def check(ctx: click.Context, asked: Asked, settings: ClusterSettings) -> None:
    """Raise UsageError with a line for each thing that does not go with another."""
    mistakes = [
        *_about_amounts(ctx, asked),
        *_about_sweeps(asked, settings),
        *_about_changes(ctx, asked, settings),
        *_about_nodes(ctx, asked, settings),
        *_about_enforcers(asked, settings),
    ]
    if mistakes:
        raise UsageError("\n".join(mistakes))


def pods_each(asked: Asked) -> int:
    """Return the pods of each interfering Service in the largest size."""
    return asked.sizes[-1] if asked.quantity is Quantity.PODS else PODS_EACH


def placements(asked: Asked) -> tuple[Placement, ...]:
    """Return where else is measured, beside the study's way."""
    return asked.elsewhere if asked.elsewhere is not None else ELSEWHERE * asked.full


def has_the_studys_nodes(ctx: click.Context, asked: Asked) -> bool:
    """Whether the cluster has as many nodes as the study's, whatever the option's default is."""
    return asked.full and not is_given(ctx, "nodes")


def _about_amounts(ctx: click.Context, asked: Asked) -> Iterator[str]:
    if is_given(ctx, "sweep") and is_given(ctx, "sizes"):
        yield "--sweep and --sizes both say how many pods there are: give one of them"
    if asked.precision is not None and (asked.rounds is not None or asked.tiny):
        yield "--precision settles the rounds: leave out --rounds and --tiny"


def _about_sweeps(asked: Asked, settings: ClusterSettings) -> Iterator[str]:
    """Say where a sweep of policies cannot be, and who would follow none of them."""
    if asked.quantity is Quantity.PODS:
        return
    sweep = f"--sweep {asked.quantity.value}"
    yield from embedded_only(settings, sweep)
    if asked.changes:
        yield f"--changes goes with sizes, not with {sweep}"
    idle = [each for each in asked.enforcers if each.startswith(_FOLLOW_NOTHING)]
    if idle:
        yield f"{sweep}: {', '.join(idle)} follows no policies"


def _about_changes(ctx: click.Context, asked: Asked, settings: ClusterSettings) -> Iterator[str]:
    if not asked.changes:
        yield from _idle(ctx, "events of a kind are --changes'", ("events",))
        return
    yield from _idle(ctx, "--changes measures no requests", _OF_REQUESTS)
    yield from embedded_only(settings, "--changes")
    if len(asked.enforcers) > 1:
        yield "--changes asks one enforcer how soon it follows: give one --enforcer"
    if NOBODY in asked.enforcers:
        yield "--changes asks how soon an enforcer follows: --enforcer none has none"


def _idle(ctx: click.Context, why: str, names: Sequence[str]) -> Iterator[str]:
    given = [f"--{_FLAGS.get(name, name)}" for name in names if is_given(ctx, name)]
    if given:
        yield f"{why}: leave out {', '.join(given)}"


def _about_nodes(ctx: click.Context, asked: Asked, settings: ClusterSettings) -> Iterator[str]:
    """Say what the cluster's nodes cannot take."""
    if asked.elsewhere:
        yield from embedded_only(settings, "--placements")
    few = settings.nodes < PATH_NODES and not has_the_studys_nodes(ctx, asked)
    if settings.cluster != EMBEDDED:
        yield from _about_room(asked)
    elif few and Placement.OTHER_NODE in placements(asked):
        yield "--placements other-node: there is no other node; give --nodes 2 or more"


def _about_room(asked: Asked) -> Iterator[str]:
    """Say where a real node cannot take the pods that are asked for."""
    if asked.full:
        yield "--full is 100 nodes: --cluster embedded has as many"
        return
    services = TINY_SERVICES if asked.tiny else SERVICES_PER_NODE
    if services * pods_each(asked) + workload.TEST_PODS > KIND_PODS - KIND_OWN_PODS:
        most = (KIND_PODS - KIND_OWN_PODS - workload.TEST_PODS) // services
        yield (
            f"a node takes {KIND_PODS} pods, up to {KIND_OWN_PODS} of them the cluster's"
            f" and the harness's own: at most {most} pods a service (--sizes)"
        )


def _about_enforcers(asked: Asked, settings: ClusterSettings) -> Iterator[str]:
    """Say which enforcers this kind of cluster does not have, or does not stop."""
    try:
        make_enforcers(asked.enforcers, settings.cluster)
    except UsageError as error:
        yield str(error)
    if present.NAME in asked.enforcers and set(asked.arms) != {Arm.OFF, Arm.ON}:
        yield f"--enforcer {present.NAME} is never stopped: --arms off,on"
