"""Before a run on somebody's cluster: what it will create and how much, and whether it may."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from harness.clusters.existing.access import Access, find_access
from harness.clusters.existing.guest import Invitation, invitation
from harness.clusters.existing.survey import Survey, survey
from harness.clusters.kube import agents
from harness.clusters.kube.owned import SELECTOR
from harness.commands.consent import ask
from harness.options import ClusterSettings

Amounts = Callable[[int], Iterable[str]]
"""What and how much a run creates on so many nodes, sentence by sentence."""


def agree(settings: ClusterSettings, amounts: Amounts, *, yes: bool) -> ClusterSettings:
    """Look at the cluster, say what a run would create there, and ask.

    Returns the settings with the owner's consent, and as many nodes as can be used. Raises
    UsageError with all that stands in the way, or where nobody can be asked; Abort where the
    answer is no.
    """
    with tempfile.TemporaryDirectory(prefix="npd-guest-") as folder:
        invited = invitation(settings)
        access = find_access(invited.way, Path(folder))
        found = survey(access.kubectl, invited.intent)
    nodes = len(found.machines.used)
    sentences = _plan(access, invited, found, amounts(nodes))
    if not ask(sentences, "Go on?", yes=yes):
        raise click.Abort
    return dataclasses.replace(settings, nodes=nodes, agreed=True)


def _plan(
    access: Access, invited: Invitation, found: Survey, amounts: Iterable[str]
) -> Iterator[str]:
    nodes = ", ".join(one.name for one in found.machines.used)
    yield f"On {access}, Kubernetes {access.version}, this run will create"
    yield f"  namespaces {', '.join((*invited.intent.namespaces, agents.NAMESPACE))}"
    yield f"  a privileged pod on each of the nodes {nodes}; it probes from within pods' networks"
    yield from (f"  {one}" for one in amounts)
    if invited.intent.installs:
        yield f"  the enforcer {invited.intent.installs} on these nodes, and its rights and account"
    yield f"  all of {', '.join(invited.pulled())}, which the nodes have to have, or can pull"
    yield from (f"  note: {one}" for one in found.notes)
    yield f"Everything is labelled {SELECTOR}, and removed at the end"
    yield "(after a crash: harness cleanup)"
