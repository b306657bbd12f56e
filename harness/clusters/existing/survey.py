"""A look at a cluster before anything is created on it: every reason to refuse, told at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.clusters.base import Manifest
from harness.clusters.existing import others, rights
from harness.clusters.existing.machines import LEAST, Machines, architectures_of, choose
from harness.clusters.kube import agents
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.owned import is_ours
from harness.errors import UsageError
from harness.words import listed


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is going to do."""

    namespaces: tuple[str, ...]
    """Those that it makes, by the names they will have there."""
    image: str
    """What its pods run."""
    installs: str = ""
    """The enforcer that it would install, by its name; empty where it installs none."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found: nothing that forbids the run, and what a person should know of it."""

    machines: Machines
    enforcers: tuple[others.Candidate, ...]
    notes: tuple[str, ...]


def survey(kubectl: Kubectl, intent: Intent) -> Survey:
    """Look, and change nothing. UsageError with every reason why the run must not begin."""
    more = rights.FOR_INSTALLING if intent.installs else ()
    lacking = rights.missing(kubectl, (*rights.FOR_A_RUN, *more))
    if lacking:
        raise UsageError(rights.in_words(lacking))
    machines = choose(kubectl.get("nodes")["items"], architectures_of(intent.image))
    daemons = kubectl.get("daemonsets", "-A")["items"]
    found = others.candidates(daemons)
    policies = others.foreign(kubectl.get("networkpolicies", "-A")["items"])
    complaints = [
        *_too_few(machines),
        *_taken(kubectl, (*intent.namespaces, agents.NAMESPACE)),
        *_twice(intent, daemons),
        *_would_act(intent, policies),
    ]
    if complaints:
        raise UsageError("\n".join(complaints))
    notes = (*machines.notes, *_may_enforce(found), *_above_all(kubectl))
    return Survey(machines, found, notes)


def _too_few(machines: Machines) -> Iterator[str]:
    if len(machines.used) < LEAST:
        why = "; ".join(machines.notes) or "there are no others"
        yield f"{LEAST} nodes are needed, and {len(machines.used)} can be used: {why}"


def _taken(kubectl: Kubectl, namespaces: Sequence[str]) -> Iterator[str]:
    """Say which namespaces we would make and cannot: somebody else's, or left by a run of ours."""
    there = {one["metadata"]["name"]: one for one in kubectl.get("namespaces")["items"]}
    for name in namespaces:
        if name not in there:
            continue
        if is_ours(there[name]):
            yield f"namespace {name} is there from another run of ours; see: harness cleanup"
        else:
            yield f"namespace {name} is there, and is not ours: nothing is done in it"


def _twice(intent: Intent, daemons: Sequence[Manifest]) -> Iterator[str]:
    """Say where an enforcer of ours is already: one more would take its place."""
    for one in daemons if intent.installs else ():
        if one["metadata"]["name"] != others.OURS:
            continue
        name = others.name_of(one)
        if is_ours(one):
            yield f"DaemonSet {name} is there from another run of ours; see: harness cleanup"
        else:
            yield f"DaemonSet {name} is there, and is not ours: judge it with --enforcer present"


def _would_act(intent: Intent, policies: Sequence[str]) -> Iterator[str]:
    """Say which policies an enforcer of ours would disturb: those that lie there and sleep."""
    if intent.installs and policies:
        many = len(policies)
        they = "1 policy act that is" if many == 1 else f"{many} policies act that are"
        yield (
            f"--enforcer {intent.installs} would make {they} not ours: "
            f"{listed(policies)}; judge with --enforcer present, or on a cluster without them"
        )


def _may_enforce(found: Sequence[others.Candidate]) -> Iterator[str]:
    if found:
        yield f"{listed([str(one) for one in found])} may enforce here; a deny-all will tell"


def _above_all(kubectl: Kubectl) -> Iterator[str]:
    """Name policies of no namespace: they may act on our pods, and a finding may be theirs."""
    served = set(kubectl.run("api-resources", "-o", "name").split())
    for kind in (one for one in others.CLUSTER_WIDE if one in served):
        names = others.foreign(kubectl.get(kind)["items"])
        if names:
            yield f"{kind}: {listed(names)} may act on our pods, too"
