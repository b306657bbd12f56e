"""Asks the functional suite about one mutant after the other, on one cluster for each ground."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import assert_never

from harness.clusters import make_embedded
from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.errors import HarnessError
from harness.matrix.axes import Family, Proxy, Selection, Wiring, parse_selection
from harness.matrix.compare import WRONG, Finding
from harness.matrix.engine import Lab, Wishes
from harness.matrix.environments import Environment, reason_of, unavailable
from harness.matrix.model import Case
from harness.matrix.profiles import Profile, load_profile
from harness.matrix.run import patience_with
from harness.matrix.scenario import CASES, Scenario, group_files, load_scenario
from harness.matrix.steps import CaseRun
from harness.matrix.watching import Patience
from harness.options import ClusterSettings
from tests.mutation.catalogue import Ground, Kind, Mutant
from tests.mutation.deployed import broken, sound

PATIENCE = Patience(stable=2.5, limit=30.0)
"""A mutant is wrong for good: what has not changed for some seconds is a verdict."""

ADDRESSES = "pod-ip,cluster-ip,hairpin,node-ip,external"
"""NodePorts are left out where a mutant does not need them: they are half of all cells."""

PROFILES = {Kind.BUNDLED: "bundled", Kind.LAYOUT: "kube-router-0.2-model"}

Say = Callable[[str], None]


class Fate(enum.Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    NOT_RUN = "not run"
    FAILED = "failed"
    """It did not run as an enforcer at all, so that nothing was judged: a defect of the mutant."""


@dataclass(frozen=True, slots=True)
class Catch:
    """A case that caught a mutant: how many cells, and what set these apart from the others."""

    case: str
    wrong: int
    cells: int
    axes: Mapping[str, tuple[str, ...]]
    example: str


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutant after its trial; ``reason`` says why it was not run, or failed."""

    mutant: Mutant
    fate: Fate
    ground: str = ""
    asked: int = 0
    catches: tuple[Catch, ...] = ()
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """The hand-written cases of ``scenarios/groups``, each with its group.

    They have one workload, so one cluster serves them all.
    """

    cases: Mapping[str, tuple[Scenario, Case]]

    @classmethod
    def load(cls) -> Suite:
        """Read the groups; the study's has a workload of its own, and is left out."""
        groups = [load_scenario(path) for path in group_files() if path.name != CASES]
        return cls({case.id: (group, case) for group in groups for case in group.cases})

    def in_order(self, first: str) -> Iterator[tuple[Scenario, Case]]:
        """Yield every case, ``first`` before the others."""
        if first in self.cases:
            yield self.cases[first]
        yield from (found for name, found in self.cases.items() if name != first)


class _Lab(Lab):
    """A lab on a cluster where other enforcers were judged before."""

    guarded = False
    """Whether it was proved already that nobody else enforces here."""

    def _guard(self) -> None:
        if not self.guarded:
            super()._guard()


@dataclass
class Court:
    """One ground: a cluster on which mutants are tried, and on which the sound enforcer passes."""

    ground: Ground
    suite: Suite
    cluster: Cluster
    environment: Environment
    logs: Path
    say: Say
    every: bool = False
    """Whether all cases are asked, and not only those up to the first catch."""
    most: int | None = None
    """How many cases a mutant is asked at most; all by default."""
    _guarded: bool = False

    def try_one(self, mutant: Mutant) -> Tried:
        """Try a mutant; whatever becomes of it is in the result."""
        started = time.monotonic()
        asked, catches, reason = 0, [], ""
        try:
            cases = islice(self.suite.in_order(mutant.first), self.most)
            with contextlib.closing(self._runs(broken(mutant), mutant, cases)) as runs:
                for run in runs:
                    asked += 1
                    if caught := catch_of(run):
                        catches.append(caught)
                    if catches and not self.every:
                        break
        except HarnessError as error:
            reason = str(error)
        fate = Fate.CAUGHT if catches else Fate.FAILED if reason else Fate.SURVIVED
        seconds = round(time.monotonic() - started, 1)
        return Tried(mutant, fate, self.environment.name, asked, tuple(catches), seconds, reason)

    def check_sound(self, kind: Kind, cases: Iterable[str]) -> list[str]:
        """Run the unbroken enforcer on the cases that caught something; return which it fails.

        No layout is sound where the bridge shows it nothing: there the bundled enforcer has to
        show that the cases can be passed.
        """
        kind = Kind.BUNDLED if self.ground is Ground.BRIDGED else kind
        wanted = [self.suite.cases[name] for name in cases]
        runs = self._runs(sound(kind), kind, wanted)
        return [f"{run.case.id}: {found.example}" for run in runs if (found := catch_of(run))]

    def _runs(
        self, enforcer: Enforcer, what: Mutant | Kind, cases: Iterable[tuple[Scenario, Case]]
    ) -> Generator[CaseRun, None, None]:
        kind = what.kind if isinstance(what, Mutant) else what
        name = what.name if isinstance(what, Mutant) else f"sound-{what.value}"
        first = next(iter(self.suite.cases.values()))[0]
        wishes = Wishes(
            wiring=self.environment.name,
            kind=self.environment.wiring,
            profile=profile_of(kind),
            patience=patience_with(enforcer, self.cluster, PATIENCE),
            selection=_selection(what),
        )
        lab = _Lab(self.cluster, enforcer, first, wishes)
        lab.guarded = self._guarded
        logs = self.logs / name
        logs.mkdir(parents=True, exist_ok=True)
        with lab.ready(logs):
            self._guarded = True
            for scenario, case in cases:
                lab.use(scenario)
                yield lab.run(case)


def _selection(what: Mutant | Kind) -> Selection:
    also = what.also if isinstance(what, Mutant) else "node-port"
    return parse_selection(f"address={ADDRESSES},{also}" if also else f"address={ADDRESSES}")


def profile_of(kind: Kind) -> Profile:
    """Return what the enforcer that a mutant breaks says of itself."""
    return load_profile(PROFILES[kind])


def catch_of(run: CaseRun) -> Catch | None:
    """Say what a case saw of a mutant; None where everything was as it has to be."""
    findings = (*run.findings, *run.removed.findings)
    wrong = [one for one in findings if one.mark in WRONG]
    if not wrong:
        return None
    example = wrong[0]
    told = f"{example.cell}: expected {example.wanted.expected.value}"
    return Catch(
        run.case.id,
        len(wrong),
        len(findings),
        dict(apart(wrong, findings)),
        f"{told}, observed {example.outcome.verdict.value}",
    )


AXES: Mapping[str, Callable[[Finding], enum.Enum]] = {
    "placement": lambda one: one.cell.placement,
    "address": lambda one: one.cell.kind,
    "protocol": lambda one: one.cell.protocol,
    "expected": lambda one: one.wanted.expected,
}
"""What is told of a cell."""


def apart(
    wrong: Sequence[Finding], every: Sequence[Finding]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the axes on which wrong cells have fewer values than all cells: what was needed."""
    for axis, value in AXES.items():
        seen, asked = {value(one).value for one in wrong}, {value(one).value for one in every}
        if seen < asked:
            yield axis, tuple(sorted(seen))


def environment_of(ground: Ground) -> Environment:
    """Return the kind of cluster on which a ground's mutants show."""
    match ground:
        case Ground.ROUTED:
            return Environment(Wiring.ROUTED)
        case Ground.BRIDGED:
            return Environment(Wiring.BRIDGED)
        case Ground.BRIDGED_NF:
            return Environment(Wiring.BRIDGED_NF)
        case Ground.IPV6:
            return Environment(Wiring.ROUTED, family=Family.DUAL)
        case Ground.IPVS:
            return Environment(Wiring.ROUTED, Proxy.KUBE_PROXY_IPVS)
    assert_never(ground)


def why_not(ground: Ground, settings: ClusterSettings) -> str:
    """Say why a ground cannot be had on this machine; empty where it can."""
    return reason_of(environment_of(ground), unavailable(settings))


@contextlib.contextmanager
def court(
    ground: Ground, suite: Suite, settings: ClusterSettings, logs: Path, say: Say
) -> Iterator[Court]:
    """Bring the cluster of a ground up."""
    environment = environment_of(ground)
    shape = dataclasses.replace(environment.settings(settings), name=settings.name)
    with make_embedded(shape) as cluster:
        yield Court(ground, suite, cluster, environment, logs / ground.value, say)
