"""Which case runs where: every pair of values of two axes at least once, by a greedy choice.

A run of a case in an environment asks every placement, address and protocol at once, because a
matrix is cheap beside a cluster. So pairs of those meet wherever they can, and what is left to
choose are the environments (wiring, proxy and family) and which cases, by the directions that they
isolate and the states that they ask for, go to which of them.

First the environments: beside those that are wanted anyhow, the one that has most pairs of wiring,
proxy and family that none before it has, until every pair was met. Then the cases: the case and
environment with most pairs still missing, until none is; and each case that was not chosen goes
where least is to be done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.matrix.axes import Family, Isolation, State
from harness.matrix.environments import Environment

Value = tuple[str, str]
Pair = frozenset[Value]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case as the choice sees it: its id, its direction, its states, and how many steps.

    ``families`` are those of its policies' blocks: elsewhere nobody's address can lie in one.
    """

    id: str
    direction: Isolation
    states: frozenset[State]
    steps: int = 1
    families: frozenset[Family] = frozenset()

    def values(self) -> Iterator[Value]:
        """Yield the values of axes that it brings."""
        yield "direction", self.direction.value
        yield from (("state", state.value) for state in sorted(self.states, key=lambda s: s.value))


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs where, in the order of the environments."""

    runs: dict[Environment, tuple[str, ...]]

    def __len__(self) -> int:
        """Return how many cases run, all environments together."""
        return sum(map(len, self.runs.values()))


def values_of(environment: Environment) -> tuple[Value, ...]:
    """Return the values of axes that an environment has."""
    return (
        ("wiring", environment.wiring.value),
        ("proxy", environment.proxy.value),
        ("family", environment.family.value),
    )


def choose_environments(
    available: Sequence[Environment], wanted: Sequence[Environment] = ()
) -> tuple[Environment, ...]:
    """Choose environments, the wanted ones among them, until every pair of their axes was met.

    Of equals the one wins whose values have been chosen least, then the first.
    """
    missing = {pair for one in available for pair in _inner_pairs(one)}
    chosen = list(wanted)
    for one in wanted:
        missing -= set(_inner_pairs(one))
    while missing:
        used = Counter(value for one in chosen for value in values_of(one))
        best = max(
            available,
            key=lambda one: (
                len(missing & set(_inner_pairs(one))),
                -sum(used[value] for value in values_of(one)),
            ),
        )
        chosen.append(best)
        missing -= set(_inner_pairs(best))
    return tuple(chosen)


def _inner_pairs(environment: Environment) -> Iterator[Pair]:
    return (frozenset(pair) for pair in combinations(values_of(environment), 2))


def choose(
    available: Sequence[Environment],
    cases: Sequence[Candidate],
    wanted: Sequence[Environment] = (),
) -> Choice:
    """Choose by pairs; every case runs at least once. Some environments may be wanted anyhow."""
    environments = choose_environments(available, wanted)
    steps = {case.id: case.steps for case in cases}
    runs: dict[Environment, list[str]] = {one: [] for one in environments}
    fitting = {case.id: tuple(_fitting(case, environments)) for case in cases}
    options = [(outer_pairs(one, case), one, case) for case in cases for one in fitting[case.id]]
    missing = {pair for pairs, _, _ in options for pair in pairs}
    while missing:
        gains = ((len(missing & pairs), one, case) for pairs, one, case in options)
        _, place, case = max(gains, key=lambda entry: (entry[0], -entry[2].steps * _cost(entry[1])))
        missing -= outer_pairs(place, case)
        runs[place].append(case.id)
    chosen = {identity for names in runs.values() for identity in names}
    for case in cases:
        if case.id not in chosen and environments:
            least = min(
                fitting[case.id],
                key=lambda one: _cost(one) * (sum(steps[name] for name in runs[one]) + case.steps),
            )
            runs[least].append(case.id)
    order = {case.id: number for number, case in enumerate(cases)}
    return Choice(
        {one: tuple(sorted(set(ids), key=order.__getitem__)) for one, ids in runs.items()}
    )


def _fitting(case: Candidate, environments: Sequence[Environment]) -> Sequence[Environment]:
    """Return where a case says something; everywhere, where that is nowhere."""
    found = [one for one in environments if case.families <= one.families]
    return found or environments


def _cost(environment: Environment) -> int:
    """Return what a step costs there: both families have twice the connections."""
    return 2 if environment.family is Family.DUAL else 1


def outer_pairs(environment: Environment, case: Candidate) -> set[Pair]:
    """Return the pairs of an environment's values with a case's."""
    return {frozenset((a, b)) for a in values_of(environment) for b in case.values()}


def everything(available: Sequence[Environment], cases: Iterable[Candidate]) -> Choice:
    """Run every case everywhere."""
    names = tuple(case.id for case in cases)
    return Choice(dict.fromkeys(available, names))
