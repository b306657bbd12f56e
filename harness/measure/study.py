"""The perf run: bring up, prove, pilot, measure size after size, visit with locust.

:func:`run` is the recipe. Whatever ends it early (Ctrl-C, an enforcer that does not switch),
what was measured until then is stored, and the cluster is taken down.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import stats
from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.load.ab import Connections
from harness.load.locust import Steps
from harness.measure import blocks, calm, clients, pace, pilot, rounds, site, voiding
from harness.measure.addresses import Addresses
from harness.measure.bench import Bench
from harness.measure.notes import Notes, design_facts
from harness.measure.pace import Pace
from harness.measure.plan import NOBODY, Arm, Comparison, Design, make_plan
from harness.measure.progress import Narrator
from harness.measure.resume import Earlier, mend
from harness.measure.rounds import Course
from harness.measure.visit import visit
from harness.measure.voiding import Rest
from harness.results import RunFolder, file_name
from harness.workload import sweep

CLOSING_SECONDS = 15.0
"""Kept free of a budget for the report and the teardown."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked of a run."""

    design: Design
    services: int
    """Interfering services."""

    seed: int
    visit: Steps
    """What locust does in each arm."""

    enforced_nodes: int | None = None
    """On how many nodes the enforcers run, the measured one first; None: on all of them."""

    budget: float | None = None
    """Seconds for the whole run, or None: the design's rounds, however long they take."""

    precision: float | None = None
    """The smallest effect to see (0.03 = 3 %): as many rounds as the pilot says it takes."""

    pilot_rounds: int = pace.FEWEST_PILOT_ROUNDS

    rest_window: float = pace.REST_WINDOW
    """Seconds of each look at a daemon at rest."""

    earlier: Earlier | None = None
    """What a run that was cut off had come to, where this goes on with it."""

    @property
    def judges(self) -> bool:
        """Whether enforcement is compared with none, or the run is an A/A control alone."""
        return Comparison.EFFECT in self.design.comparisons

    @property
    def arms(self) -> tuple[tuple[Arm, str], ...]:
        """The arms that locust visits, and whose they are."""
        on = tuple((Arm.ON, name) for name in self.design.enforcers)
        return ((Arm.OFF, NOBODY), *(on if self.judges else ()))


@dataclass(frozen=True, slots=True)
class Lab:
    """What a run works with."""

    cluster: Cluster
    enforcers: Mapping[str, Enforcer]
    """By the names that the run has for them, as its design has."""

    addresses: Callable[[Cluster], Addresses]
    folder: RunFolder
    narrator: Narrator


def run(study: Study, lab: Lab) -> None:
    """Do the whole study; every figure is in the folder when this returns or raises."""
    began = time.monotonic()
    notes = Notes(lab.folder)
    if study.earlier is None:
        notes.put(services=study.services, design=design_facts(study.design, study.seed))
        blocks.begin(lab.folder.path / blocks.FILE)
    else:
        mend(lab.folder)
    lab.narrator.say(f"bringing up the {lab.cluster.kind} cluster")
    with lab.cluster:
        place = _prepare(study, lab, notes)
        try:
            _install(study, lab, place)
            if study.earlier is None:
                course = _pilot(study, place, Record(lab.folder, notes), began)
            else:
                course = _continued(study, study.earlier)
            _measure(study, course, place, Record(lab.folder, notes))
            visit(study.visit, place, lab.folder, study.arms)
            lab.narrator.say("taking the cluster down")
        finally:
            place.switch.dismiss()


@dataclass(frozen=True, slots=True)
class Record:
    """Where what is found is written."""

    folder: RunFolder
    notes: Notes


def _prepare(study: Study, lab: Lab, notes: Notes) -> site.Site:
    asking = clients.deploy(lab.cluster)
    cast, sysctls = site.settle(lab.cluster, study.services, asking, study.design.elsewhere)
    notes.put(nodes=len(cast.crowd.nodes), sysctls=sysctls, client=str(asking))
    size = study.design.sizes[0]
    site.grow(lab.cluster, cast.crowd, 0, study.design.pods_each(size), lab.narrator)
    addresses = lab.addresses(lab.cluster)
    site.lead(cast, site.Roads(lab.cluster, addresses, lab.folder))
    place = site.open_site(site.Ground(lab.cluster, lab.enforcers, addresses), lab.narrator, cast)
    place.switch.add(list(sweep.policies(study.design.quantity, size)))
    return place


def _install(study: Study, lab: Lab, place: site.Site) -> None:
    if not study.judges:
        lab.narrator.say("no enforcer: an A/A control alone")
        return
    nodes = place.crowd.nodes[: study.enforced_nodes]
    facts = {}
    for name, enforcer in place.switch.enforcers.items():
        lab.narrator.say(f"installing {name} on {len(nodes)} of {len(place.crowd.nodes)} nodes")
        place.switch.install(name, _logs(lab, name), nodes)
        facts[name] = enforcer.describe()
        lab.folder.write_json("enforcer.json", {"nodes": list(nodes), "enforcers": facts})


def _logs(lab: Lab, name: str) -> Path:
    """Return the folder of an enforcer's logs: its own, where there are several."""
    only = len(lab.enforcers) == 1
    return lab.folder.folder("logs" if only else f"logs/{file_name(name)}")


def _pilot(study: Study, place: site.Site, record: Record, began: float) -> Course:
    """Learn rates and noise, settle the rounds, and say what the run will be able to see."""
    start, own = time.monotonic(), _machine_at_rest(study, place).of_itself
    bench = Bench(place.switch, place.target, record.folder, start, prefix="pilot-", of_itself=own)
    plan = pilot.plan_of(study.design, study.pilot_rounds, study.seed)
    with place.narrator.stage("pilot", pilot.steps(study.design, plan)) as stage:
        found = pilot.run(bench, study.design, plan, stage)
    now = replace(Pace(), block=found.block_seconds)
    design = _settled(study, found, now, time.monotonic() - began + _rest(study, place, now))
    sees = found.sees(design)
    record.notes.put(
        design=design_facts(design, study.seed),
        pilot={
            "rounds": study.pilot_rounds,
            "requests": dict(found.requests),
            "packets": dict(found.packets),
            "spreads": {kind.value: _finite(asdict(each)) for kind, each in found.spreads.items()},
            "pace": asdict(now),
            "asked_again": found.asked_again,
        },
        sees=_finite({kind.value: each for kind, each in sees.items()}),
    )
    for line in _announcement(study, design, now, sees):
        place.narrator.say(line)
    return Course(make_plan(design, study.seed), found.requests, _planned(study, now, design))


def _continued(study: Study, earlier: Earlier) -> Course:
    """Return the course that the earlier part of the run had settled."""
    design = replace(study.design, rounds=earlier.rounds)
    now = replace(Pace(), block=earlier.block_seconds)
    planned = _planned(study, now, design)
    return Course(make_plan(design, study.seed), earlier.requests, planned, earlier.done)


def _planned(study: Study, now: Pace, design: Design) -> float | None:
    """Return the seconds that are planned for each block; None: no budget binds them."""
    return None if study.budget is None else pace.block_seconds(now, design)


def _settled(study: Study, found: pilot.Pilot, now: Pace, elsewhere: float) -> Design:
    """Return the design with as many rounds as the precision needs and the budget allows.

    ``elsewhere`` is what of the budget is not for blocks, in seconds.
    """
    design = study.design
    if study.precision is not None:
        design = replace(design, rounds=found.rounds_for(study.precision, design))
    if study.budget is None:
        return design
    fitted = pace.fit(now, design, study.budget - elsewhere)
    return design if study.precision and design.rounds < fitted.rounds else fitted


def _announcement(
    study: Study, design: Design, now: Pace, sees: Mapping[Connections, float]
) -> Iterator[str]:
    minutes = pace.blocks_seconds(now, design) / 60
    promises = ", ".join(
        f"{kind.value} connections {_percent(each)}" for kind, each in sees.items()
    )
    yield (
        f"{design.rounds} rounds, {design.blocks_in_all} blocks in {len(design.sizes)} sizes, "
        f"about {minutes:.1f} min; the smallest effect that "
        f"{design.pairs_per_estimate} pairs an estimate will see, if the machine stays as noisy "
        f"as in the pilot ({stats.CONFIDENCE:.0%} sure): {promises}"
    )
    if study.precision is not None and max(sees.values()) > study.precision:
        yield (
            f"{study.precision:.1%} is out of reach for this machine within "
            f"{'the budget' if study.budget else f'{pace.MOST_ROUNDS} rounds'}"
        )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 1 else "nothing (too noisy, or too few pairs)"


def _finite(facts: Mapping[str, float]) -> dict[str, float | None]:
    """Return the facts as JSON has them: it knows no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in facts.items()}


def _rest(study: Study, place: site.Site, now: Pace) -> float:
    """Return the seconds that the rest of a run takes beside its blocks."""
    sizes = study.design.sizes
    each = [study.design.pods_each(size) for size in sizes]
    pods = place.crowd.pods(each[-1]) - place.crowd.pods(each[0])
    visits = len(study.arms) * (study.visit.seconds + now.visit_overhead)
    return pods * now.pod + visits + pace.rests_seconds(study.design) + CLOSING_SECONDS


def _measure(study: Study, course: Course, place: site.Site, record: Record) -> None:
    before, ended = (earlier.at, earlier.ended) if (earlier := study.earlier) else (0.0, ())
    started = time.monotonic() - before
    bench = Bench(place.switch, place.target, record.folder, started)
    have = study.design.sizes[0]
    for size in study.design.sizes:
        if size in ended:
            continue
        started = time.monotonic()
        if study.judges:
            place.switch.to(Arm.ON)
        pods = study.design.pods_each(size)
        now = study.design.pods_each(have)
        site.grow(place.cluster, place.crowd, now, pods, place.narrator)
        place.switch.add(list(sweep.policies(study.design.quantity, size, have)))
        reached = site.sample(place)
        record.notes.put_size(
            size,
            pods=place.crowd.pods(pods),
            pods_per_node=place.crowd.density(pods),
            reached=asdict(reached),
            grown_seconds=time.monotonic() - started,
        )
        if study.judges:
            record.notes.put_size(size, daemon=_daemons(study, place, size))
        rest = _machine_at_rest(study, place)
        record.notes.put_size(size, machine_at_rest=rest.facts())
        bench = replace(bench, of_itself=rest.of_itself)
        record.notes.put_size(size, rounds=rounds.measure(size, course, bench, place.narrator))
        have = size


def _machine_at_rest(study: Study, place: site.Site) -> Rest:
    """Look at what the machine does of itself, no enforcer acting; a person is told of much."""
    place.switch.to(Arm.OFF)
    rest = calm.rest(max(2, round(calm.LOOKS * study.rest_window)))
    if rest.load > voiding.MOST_LOAD:
        counted = "the machine's own" if rest.of_itself else "work of others: blocks will be void"
        place.narrator.say(
            f"while nothing of ours acts {rest.load:.0%} of the CPUs are used, with so many pods:"
            f" {counted}"
        )
    return rest


def _daemons(study: Study, place: site.Site, size: int) -> dict[str, list[float]]:
    """Have each enforcer catch up with the pods, prove it, and watch its daemon at rest.

    Returns CPU seconds a second on a node, window by window, by the enforcer's name.
    """
    changed = site.newcomers(place, study.design.quantity, size)
    count = len(place.crowd.nodes[: study.enforced_nodes])
    found = {}
    for name, enforcer in place.switch.enforcers.items():
        place.switch.follow(name, changed)
        found[name] = [each / count for each in at_rest(enforcer, study.rest_window)]
    return found


def at_rest(enforcer: Enforcer, window: float) -> list[float]:
    """Watch the daemons while nothing changes: CPU seconds a second, all nodes together."""
    windows = []
    for _ in range(pace.REST_WINDOWS):
        began, used = time.monotonic(), enforcer.cpu_seconds()
        time.sleep(window)
        windows.append((enforcer.cpu_seconds() - used) / (time.monotonic() - began))
    return windows
