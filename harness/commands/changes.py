"""``harness perf --changes``: how soon changes act, and what the daemons take meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.clusters import make_cluster
from harness.commands.ending import Ending
from harness.commands.perf_options import SERVICES_PER_NODE, Asked
from harness.enforcers import make_enforcer
from harness.enforcers.base import Enforcer
from harness.measure.changes import resume, run
from harness.measure.changes.churn import RATE
from harness.measure.changes.run import Plan, Where
from harness.measure.progress import Narrator
from harness.options import ClusterSettings
from harness.report import changes as report
from harness.results import RunFolder

SCENARIO = "changes"
"""Of such a run, in its ``run.json`` and its folder's name."""

TINY = Plan(sizes=(1,), services=4, events=2, idle_seconds=1.0)

SPARE_PODS = 60
"""Of each node: the server, its clients, and pods that come before others have gone."""


def measure(settings: ClusterSettings, asked: Asked, results: Path) -> int:
    """Measure and report; print the report's path and return the exit code."""
    (spec,) = asked.enforcers
    enforcer = make_enforcer(spec)
    settings = replace(settings, pods_per_node=settings.pods_per_node + SPARE_PODS)
    plan = (
        TINY if asked.tiny else Plan(asked.sizes, SERVICES_PER_NODE * settings.nodes, asked.events)
    )
    click.echo(_announcement(spec, plan, settings))
    stored = {each.name: getattr(plan, each.name) for each in _stored()}
    folder = RunFolder.create(
        results,
        cluster=settings.cluster,
        scenario=SCENARIO,
        command=["harness", *sys.argv[1:]],
        settings={**asdict(settings), "enforcer": spec, **stored},
    )
    return _run(settings, enforcer, plan, folder)


def go_on(folder: RunFolder, settings: ClusterSettings, stored: Mapping[str, Any]) -> int:
    """Take up the run in ``folder``, with the settings that it has ``stored``; as :func:`measure`.

    UsageError where nothing is left to do.
    """
    facts = {each.name: stored[each.name] for each in _stored()}
    facts["sizes"] = tuple(facts["sizes"])
    plan = Plan(**facts, earlier=resume.earlier(folder))
    enforcer = make_enforcer(stored["enforcer"])
    done = ", ".join(map(str, sorted(plan.earlier.done))) or "none"
    click.echo(f"going on with {folder.path}: of sizes {_words(plan.sizes)} done: {done}")
    folder.go_on()
    return _run(settings, enforcer, plan, folder)


def _stored() -> tuple[Field[Any], ...]:
    """Return the fields of a plan that ``run.json`` has."""
    return tuple(each for each in fields(Plan) if each.name != "earlier")


def _words(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _run(settings: ClusterSettings, enforcer: Enforcer, plan: Plan, folder: RunFolder) -> int:
    narrator = Narrator(Console(highlight=False))
    cluster = make_cluster(settings, narrator.tell)
    cluster.logs_to = folder.path / "logs" / "cluster"
    ending = Ending(folder, narrator, report.write)
    where = Where(folder, narrator)
    code = ending.of(lambda: run.run(plan, cluster, enforcer, where), lambda: "passed")
    click.echo(str(folder.path / report.HTML))
    return code


def _announcement(spec: str, plan: Plan, settings: ClusterSettings) -> str:
    pods = ", ".join(str(size * plan.services) for size in plan.sizes)
    return (
        f"How soon does {spec} follow changes? {settings.nodes} nodes, "
        f"{plan.services} services, {pods} nginx pods; {plan.events} events of each kind, quiet "
        f"and while up to {RATE} pods a second are replaced; about 3 minutes a size, and the growth"
    )
