"""``harness functional --list``: the cases, where each would run, and how many that is."""

from __future__ import annotations

from collections.abc import Iterator

from harness.matrix.planning import Chosen


def lines_of(chosen: Chosen) -> Iterator[str]:
    """Yield a line for each case, by group, and the sums."""
    where: dict[str, list[str]] = {}
    for environment, cases in chosen.choice.runs.items():
        for identity in cases:
            where.setdefault(identity, []).append(environment.name)
    for group in chosen.groups:
        listed = [case for case in group.cases if case.id in where]
        if listed:
            yield f"{group.name}: {group.title}"
        for case in listed:
            yield f"  {case.id}  {' '.join(case.rule.split())}  [{', '.join(where[case.id])}]"
    runs = sum(map(len, where.values()))
    yield f"{len(where)} cases, {runs} runs in {len(chosen.choice.runs)} kinds of cluster"
    for (axis, value), reason in chosen.reasons.items():
        yield f"not run: {axis}={value}: {reason}"
