"""What a run consists of: groups, cases and environments, from what a person asked for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import options as cluster_options
from harness.enforcers import CHOICES, present
from harness.errors import UsageError
from harness.matrix.axes import Selection, State, parse_selection
from harness.matrix.covering import Candidate, Choice, choose, everything
from harness.matrix.environments import (
    Environment,
    Reasons,
    environment_of,
    every,
    first,
    reason_of,
    unavailable,
)
from harness.matrix.features import GENERATED, generated
from harness.matrix.guests import (
    KUBECONFIG,
    NOT_ASKED,
    narrowed,
    need_outside,
    prepared,
    without_outside,
)
from harness.matrix.profiles import Profile, load_profile
from harness.matrix.scenario import Scenario, folder, group_files, group_name, load_scenario
from harness.options import ClusterSettings

STUDY = "study"
_EMBEDDED = "embedded"
_OUR_KUBELET = (
    "pods that end, and addresses that are used again, are had on purpose only by the kubelets of"
    " --cluster embedded"
)
_UNTOUCHED = "what is present is not touched, so it is not restarted"
_FEW_NODES = 5
"""Of a small cluster; each node has an enforcer, and takes its time to end."""
_OWN_AXES = ("cni", "bridge-netfilter", "proxy", "ip-family", "bridges")
"""Cluster options that name an environment: with one of them there is no choice left."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, beside the cluster's options."""

    groups: tuple[str, ...] = ()
    select: str = ""
    all_cases: bool = False
    enforcer: str = "bundled"
    profile: Path | None = None
    fixed: bool = False
    """Whether the cluster's options name the environment."""
    files: tuple[Path, ...] = ()
    """Files of cases that are not ours; then no group is run unless it is named."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What will run: cases by environment; ``order`` numbers the cases."""

    base: ClusterSettings
    groups: tuple[Scenario, ...]
    choice: Choice
    selection: Selection
    profile: Profile
    reasons: Reasons
    order: Mapping[str, int]


def _strings(group: pytest.OptionGroup) -> None:
    group.addoption("--enforcer", default="bundled", help=CHOICES)
    group.addoption("--select", default="", help="axes and values: placement=same-node")
    group.addoption("--group", default="", help="groups of cases, apart by commas")
    group.addoption("--profile", type=Path, default=None, help="what the enforcer says of itself")


def _others(group: pytest.OptionGroup) -> None:
    group.addoption("--probe-timeout", type=float, default=250.0, help="milliseconds of silence")
    group.addoption("--results", type=Path, default=Path("results"), help="folder of the results")
    group.addoption("--all-cases", action="store_true", help="every case everywhere")
    group.addoption("--yes", action="store_true", help="a cluster's owner agreed to the run")


ADD_OPTIONS: tuple[Callable[[pytest.OptionGroup], None], ...] = (_strings, _others)


def choose_runs(config: pytest.Config) -> Chosen:
    """Read pytest's options and choose; UsageError where they are wrong."""
    option = config.option
    names = {f"--{name}" for name in _OWN_AXES}
    given = {argument.partition("=")[0] for argument in config.invocation_params.args}
    wanted = Wanted(
        tuple(filter(None, option.group.split(","))),
        option.select,
        option.all_cases,
        option.enforcer,
        option.profile,
        fixed=bool(names & given),
        files=tuple(
            Path(argument.partition("::")[0])
            for argument in config.args
            if ".yaml" in argument and not argument.startswith("--")
        ),
    )
    settings = cluster_options.pytest_settings(config)
    return plan_runs(dataclasses.replace(settings, agreed=option.yes), wanted)


def plan_runs(base: ClusterSettings, wanted: Wanted) -> Chosen:
    """Choose what runs where. UsageError with every mistake of the files that are read."""
    if wanted.enforcer == present.NAME and base.cluster == _EMBEDDED:
        raise UsageError("--enforcer present: nothing is present on a cluster of our own making")
    selection = parse_selection(wanted.select)
    groups = load_groups(wanted)
    profile = load_profile(wanted.enforcer.partition("=")[0], wanted.profile)
    reasons = unavailable(base)
    if base.cluster == KUBECONFIG:
        reasons = NOT_ASKED | need_outside(groups)
        groups, selection = without_outside(groups), narrowed(selection)
        base = prepared(base, groups, wanted.enforcer)
    if wanted.fixed or base.cluster == KUBECONFIG:
        available = [environment_of(base)]
    else:
        available = [one for one in every(selection) if not reason_of(one, reasons)]
    cannot = _not_here(groups, base, wanted.enforcer)
    cannot |= {name: why for (axis, name), why in reasons.items() if axis == "case"}
    cases = _candidates(groups, selection, cannot)
    choice = (
        everything(available, cases)
        if wanted.all_cases
        else _choose(available, cases, _study(groups), first(base))
    )
    order = {case.id: at for at, case in enumerate(c for one in groups for c in one.cases)}
    not_run = {**reasons, **{("case", case): reason for case, reason in cannot.items()}}
    return Chosen(base, groups, choice, selection, profile, not_run, order)


def fit_together(settings: ClusterSettings) -> bool:
    """Say whether a second cluster may be made beside the first.

    It must be of our own making and small, with a name of its own, and find a core that is free
    while the first is asked.
    """
    small = settings.cluster == _EMBEDDED and settings.nodes <= _FEW_NODES
    return small and not settings.name and len(os.sched_getaffinity(0)) > 1


def _not_here(groups: Iterable[Scenario], base: ClusterSettings, enforcer: str) -> dict[str, str]:
    """Say which cases cannot be run on this kind of cluster, or with this enforcer, and why."""
    cases = [case for group in groups for case in group.cases]
    cannot: dict[str, str] = {}
    if base.cluster != _EMBEDDED:
        cannot |= {case.id: _OUR_KUBELET for case in cases if case.needs_its_own_kubelet()}
    if enforcer == present.NAME:
        cannot |= {case.id: _UNTOUCHED for case in cases if State.AFTER_RESTART in case.states()}
    return cannot


def check_groups(names: Iterable[str]) -> None:
    """Refuse groups that are not there; UsageError with all of them."""
    there = [*map(group_name, group_files()), GENERATED]
    if unknown := [name for name in names if name not in there]:
        raise UsageError(f"--group {','.join(unknown)}: unknown; there are {', '.join(there)}")


def load_groups(asked: Wanted) -> tuple[Scenario, ...]:
    """Read the files and groups that are named: all but the generated group, if none is."""
    check_groups(asked.groups)
    known = {group_name(file): file for file in group_files()}
    generated_file = folder() / f"{GENERATED}.yaml"
    files = [file for file in asked.files if file.resolve() not in _resolved(known.values())]
    files = [file for file in files if file.resolve() != generated_file.resolve()]
    wanted = asked.groups or (() if files else (*known, *([GENERATED] if asked.all_cases else [])))
    groups = tuple(
        generated() if name == GENERATED else load_scenario(known[name]) for name in wanted
    )
    groups += tuple(map(load_scenario, dict.fromkeys(files)))
    _check_unique(groups)
    return groups


def _resolved(files: Iterable[Path]) -> set[Path]:
    return {file.resolve() for file in files}


def _check_unique(groups: Iterable[Scenario]) -> None:
    known: dict[str, Path] = {}
    for group in groups:
        for case in group.cases:
            if case.id in known:
                raise UsageError(f"{group.path}: {case.id} is in {known[case.id]}, too")
            known[case.id] = group.path


def _candidates(
    groups: Iterable[Scenario], selection: Selection, cannot: Container[str]
) -> list[Candidate]:
    return [
        Candidate(
            case.id,
            group.direction(case),
            case.states(),
            len(case.all_steps()),
            group.families(case),
        )
        for group in groups
        for case in group.cases
        if case.id not in cannot and selection.takes_any("state", case.states())
    ]


def _study(groups: Iterable[Scenario]) -> set[str]:
    return {case.id for group in groups if group.name == STUDY for case in group.cases}


def _choose(
    available: list[Environment],
    cases: list[Candidate],
    study: set[str],
    plainest: Iterable[Environment],
) -> Choice:
    first_ones = [one for one in plainest if one in available] or available[:1]
    others = [case for case in cases if case.id not in study]
    chosen = choose(available, others, first_ones if study and others else ())
    runs: dict[Environment, tuple[str, ...]] = {}
    for one in dict.fromkeys((*first_ones, *chosen.runs)):
        asked = tuple(c.id for c in cases if c.id in study) if one in first_ones else ()
        runs[one] = (*asked, *chosen.runs.get(one, ()))
    return Choice({one: ids for one, ids in runs.items() if ids})
