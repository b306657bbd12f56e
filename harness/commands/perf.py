"""``harness perf``: what does an enforcer cost? The study's curves, with and without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from harness.clusters import make_cluster, require
from harness.clusters.base import Cluster
from harness.clusters.kube.cluster import KubeCluster
from harness.combinations import KIND_PODS
from harness.commands import changes
from harness.commands.choices import is_given, results_option
from harness.commands.consent import yes_option
from harness.commands.ending import Ending
from harness.commands.perf_checks import (
    PATH_NODES,
    TINY_SERVICES,
    check,
    has_the_studys_nodes,
    placements,
    pods_each,
)
from harness.commands.perf_options import (
    DEFAULT_BUDGET,
    SERVICES_PER_NODE,
    Asked,
    Sweep,
    perf_options,
)
from harness.commands.report import open_run
from harness.commands.visiting import agree
from harness.enforcers import make_enforcers
from harness.enforcers.registry import UNINSTALLED
from harness.errors import UsageError
from harness.load.locust import Steps
from harness.measure import blocks, clients, pace, study, visit
from harness.measure.addresses import ApiAddresses
from harness.measure.pace import Extent, Pace
from harness.measure.plan import NOBODY, Arm, Comparison, Design, Placement
from harness.measure.progress import Narrator
from harness.measure.resume import earlier
from harness.measure.study import Lab, Study
from harness.options import ClusterSettings, PatientOption, cluster_options
from harness.report import perf as report
from harness.report.analysis import tally
from harness.report.comparison import unlike_machines
from harness.results import RunFolder, environment
from harness.workload import study as workload
from harness.workload.sweep import UNITS, Quantity

KUBECONFIG = "kubeconfig"
REAL = ("kind", KUBECONFIG)
"""Kinds of cluster whose pods are Kubernetes' own."""

NO_VISIT = Steps(rates=(), each=0.0)
"""Where locust does not run: load comes from pods there, and no image with locust was named."""

FULL_NODES = 100
FULL_BUDGET = 1200.0
"""Seconds, of the study at its size."""

OWN_PODS = 8
"""On a node beside the interfering ones, at most: measured ones, for clients that are pods, and
such a client."""

EACH_MORE = 0.25
"""Share of a default budget by which each enforcer beside the first lengthens it."""


@click.command()
@cluster_options()
@perf_options
@results_option
@click.option(
    "--resume",
    cls=PatientOption,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with the run in this folder, which was cut off; no other option beside it.",
)
@yes_option
@click.pass_context
def command(  # noqa: PLR0913  # each is an option
    ctx: click.Context,
    /,
    settings: ClusterSettings,
    results: Path,
    resume: Path | None,
    sweep: Sweep | None,
    *,
    yes: bool,
    **options: Any,
) -> None:
    """Measure what an enforcer costs: requests per second with and without it, as in the study."""
    if resume is not None:
        _go_on(ctx, resume)
    swept = {each.name: getattr(sweep, each.name) for each in fields(Sweep)} if sweep else {}
    asked = _budgeted(ctx, Asked(**(options | swept)))
    check(ctx, asked, settings)
    settings = _fitted(ctx, asked, settings)
    require(settings)
    if settings.cluster == KUBECONFIG:
        settings = _agreed(asked, settings, yes=yes)
    if asked.changes:
        ctx.exit(changes.measure(settings, asked, results))
    enforcers = make_enforcers(asked.enforcers, settings.cluster)
    plan = _study(asked, settings, tuple(enforcers))
    console = Console(highlight=False)
    narrator = Narrator(console)
    cluster = make_cluster(settings, narrator.tell)
    console.print(_announcement(asked, plan, settings), soft_wrap=True)
    folder = RunFolder.create(
        results,
        cluster=settings.cluster,
        scenario="perf",
        command=["harness", *sys.argv[1:]],
        settings={**asdict(settings), **_facts(asked), "services": plan.services},
    )
    ctx.exit(_run(plan, Lab(cluster, enforcers, _addresses, folder, narrator)))


def _go_on(ctx: click.Context, path: Path) -> NoReturn:
    """Take up the run in ``path``, with the options that it was started with."""
    given = [name for name in ctx.params if name != "resume" and is_given(ctx, name)]
    if given:
        raise UsageError(f"--resume takes the run's own options: leave out {', '.join(given)}")
    folder = open_run(path)
    differences = unlike_machines(folder.read_json("env.json"), environment())
    if differences:
        raise UsageError("\n".join((f"--resume {path}: another machine:", *differences)))
    stored = folder.read_json("run.json")["settings"]
    settings = ClusterSettings(**_known(ClusterSettings, stored))
    if folder.read_json("run.json")["scenario"] == changes.SCENARIO:
        ctx.exit(changes.go_on(folder, settings, stored))
    before, asked = earlier(folder), _asked(stored)
    enforcers = make_enforcers(asked.enforcers, settings.cluster)
    plan = replace(_study(asked, settings, tuple(enforcers)), earlier=before)
    narrator = Narrator(Console(highlight=False))
    cluster = make_cluster(settings, narrator.tell)
    narrator.say(f"going on with {path}: {len(before.done)} blocks are done")
    folder.go_on()
    ctx.exit(_run(plan, Lab(cluster, enforcers, _addresses, folder, narrator)))


def _known(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored of the fields of a dataclass."""
    return {each.name: stored[each.name] for each in fields(kind) if each.name in stored}


def _facts(asked: Asked) -> dict[str, Any]:
    """Return the options as ``run.json`` has them."""
    elsewhere = None if asked.elsewhere is None else [each.value for each in asked.elsewhere]
    arms = [arm.value for arm in asked.arms]
    kinds = {"arms": arms, "elsewhere": elsewhere, "quantity": asked.quantity.value}
    return asdict(asked) | kinds


def _asked(stored: Mapping[str, Any]) -> Asked:
    """Return the options that ``run.json`` has."""
    elsewhere = stored["elsewhere"]
    if elsewhere is not None:
        elsewhere = tuple(Placement(each) for each in elsewhere)
    kinds = {
        "arms": tuple(Arm(arm) for arm in stored["arms"]),
        "sizes": tuple(stored["sizes"]),
        "enforcers": tuple(stored["enforcers"]),
        "elsewhere": elsewhere,
        "quantity": Quantity(stored.get("quantity", Quantity.PODS.value)),
    }
    return Asked(**(_known(Asked, stored) | kinds))


def _budgeted(ctx: click.Context, asked: Asked) -> Asked:
    """Return the options with the budget that belongs to the others; None: it does not count."""
    if is_given(ctx, "budget"):
        return asked
    if asked.precision is not None:
        return replace(asked, budget=None)
    budget = FULL_BUDGET if asked.full else DEFAULT_BUDGET
    return replace(asked, budget=budget * (1 + EACH_MORE * (len(asked.enforcers) - 1)))


def _fitted(ctx: click.Context, asked: Asked, settings: ClusterSettings) -> ClusterSettings:
    """Return the settings with as many nodes as ``--full`` means, and room for all pods."""
    if settings.cluster in REAL:
        return replace(settings, control_plane="real", load_image=asked.load_image)
    if has_the_studys_nodes(ctx, asked):
        settings = replace(settings, nodes=FULL_NODES)
    needed = SERVICES_PER_NODE * pods_each(asked) + OWN_PODS
    if settings.control_plane == "auto" and not settings.needs_real:
        # An idle kube-apiserver and its controllers take CPU that would be measured, too.
        settings = replace(settings, control_plane="builtin")
    return replace(settings, pods_per_node=max(settings.pods_per_node, needed))


def _agreed(asked: Asked, settings: ClusterSettings, *, yes: bool) -> ClusterSettings:
    """Return settings for a cluster whose owner has agreed; UsageError where none can be asked."""
    spaces = (workload.NAMESPACE, clients.NAMESPACE)
    installs = ", ".join(one for one in asked.enforcers if one not in UNINSTALLED)
    settings = replace(settings, namespaces=spaces, installs=installs)

    def amounts(nodes: int) -> Iterator[str]:
        plan = _study(asked, replace(settings, nodes=nodes), asked.enforcers)
        pods = _extent(plan, nodes).pods
        yield f"{pods} nginx pods and {plan.services + 1} Services in the end, a NetworkPolicy"
        yield "2 privileged pods that make load, from within the cluster alone"

    return agree(settings, amounts, yes=yes)


def _study(asked: Asked, settings: ClusterSettings, enforcers: tuple[str, ...]) -> Study:
    nodes = settings.nodes
    effects = tuple(each for each in Comparison if each.test_arm in asked.arms)
    elsewhere = placements(asked)
    design = Design(
        sizes=asked.sizes,
        quantity=asked.quantity,
        comparisons=(Comparison.CONTROL,) if enforcers == (NOBODY,) else effects,
        enforcers=enforcers,
        elsewhere=elsewhere,
    )
    whole = Study(
        design=design,
        services=SERVICES_PER_NODE * nodes,
        seed=asked.seed,
        visit=_visit(asked, settings),
        # At the study's size they run where measured packets pass, and nowhere else.
        enforced_nodes=PATH_NODES if asked.full else None,
        budget=asked.budget,
        precision=asked.precision,
        pilot_rounds=_pilot_rounds(asked, design),
    )
    if asked.tiny:
        return _tiny(whole, asked.rounds or 3)
    if asked.rounds is not None:
        return replace(whole, design=replace(whole.design, rounds=asked.rounds), budget=None)
    if asked.budget is None:
        return whole
    seconds = asked.budget - pace.fixed_seconds(Pace(), whole.design, _extent(whole, nodes))
    return replace(whole, design=pace.fit(Pace(), whole.design, seconds))


def _visit(asked: Asked, settings: ClusterSettings) -> Steps:
    if settings.cluster in REAL and not asked.load_image:
        return NO_VISIT
    return replace(visit.STEPS, processes=asked.processes, image=asked.load_image)


def _pilot_rounds(asked: Asked, design: Design) -> int:
    if asked.precision is not None and asked.budget is None:
        return pace.MOST_PILOT_ROUNDS
    return pace.pilot_rounds(Pace(), design, asked.budget)


def _tiny(whole: Study, rounds: int) -> Study:
    design = replace(
        whole.design,
        concurrencies=(1, 8),
        elsewhere_concurrency=8,
        elsewhere_visits=1,
        rounds=rounds,
        leg_seconds=0.05,
    )
    # A step reaches workers in pods up to a second late.
    few = replace(whole.visit, rates=(20, 40), each=4.0 if whole.visit.image else 1.0)
    steps = few if whole.visit.rates else whole.visit
    tiny = replace(whole, design=design, services=TINY_SERVICES, visit=steps)
    return replace(tiny, budget=None, pilot_rounds=1, rest_window=0.1)


def _extent(plan: Study, nodes: int) -> Extent:
    each = plan.design.pods_each(plan.design.sizes[-1])
    pods = plan.services * each + workload.TEST_PODS
    return Extent(nodes, pods, len(plan.arms), plan.visit.seconds, plan.pilot_rounds)


def _announcement(asked: Asked, plan: Study, settings: ClusterSettings) -> str:
    design = plan.design
    extent = _extent(plan, settings.nodes)
    seconds = pace.total_seconds(Pace(), design, extent)
    crowd = workload.Crowd(tuple(map(str, range(settings.nodes))), plan.services)
    densities = (crowd.density(design.pods_each(size)) for size in design.sizes)
    density = ", ".join(dict.fromkeys(f"{each:.0f}" for each in densities))
    amounts = f"{', '.join(map(str, design.sizes))} {UNITS[design.quantity]}"
    swept = "" if design.quantity is Quantity.PODS else f"; {amounts}"
    elsewhere = ", ".join(each.value for each in design.elsewhere)
    beside = f"; {elsewhere} at {design.elsewhere_concurrency}" if elsewhere else ""
    room = f" of {KIND_PODS} that a node takes" if settings.cluster in REAL else ""
    return (
        f"What does {' and '.join(asked.enforcers)} cost? {settings.nodes} nodes, "
        f"{plan.services} interfering services, {extent.pods} nginx pods in the end "
        f"({density} a node{room}){swept}\n"
        f"ab at concurrency {', '.join(map(str, design.concurrencies))}, without and with "
        f"keep-alive{beside}; {design.rounds} rounds, {design.blocks_in_all} blocks of two legs, "
        f"seed {plan.seed}"
        f"\ncontrol plane: {settings.control_plane}"
        f"\nabout {seconds / 60:.0f} min {seconds % 60:.0f} s; the pilot settles the rounds"
    )


def _addresses(cluster: Cluster) -> ApiAddresses:
    own = workload.NAMESPACE
    space = cluster.space(own) if isinstance(cluster, KubeCluster) else own
    return ApiAddresses(cluster.kubeconfig, space)


def _run(plan: Study, lab: Lab) -> int:
    """Run, say how it ended, and report what was measured; return the exit code."""
    lab.cluster.logs_to = lab.folder.path / "logs" / "cluster"
    ending = Ending(lab.folder, lab.narrator, report.write)
    code = ending.of(lambda: study.run(plan, lab), lambda: _status(lab.folder))
    click.echo(str(lab.folder.path / report.HTML))
    return code


def _status(folder: RunFolder) -> str:
    counted = tally(blocks.read(folder.path / blocks.FILE))
    return "passed" if counted.void < counted.blocks else "invalid"
