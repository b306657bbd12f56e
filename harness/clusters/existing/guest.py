"""A cluster that somebody else made, as the rest of the harness sees it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import names
from harness.clusters.base import Manifest, Place, PodRef, Tell, say_nothing
from harness.clusters.existing.access import Access, Way, find_access
from harness.clusters.existing.border import Border
from harness.clusters.existing.survey import Intent, Survey, survey
from harness.clusters.kube.cluster import KubeCluster, Reached
from harness.clusters.kube.owned import labelled
from harness.clusters.kube.probing import Door
from harness.clusters.kube.runner import Runner
from harness.errors import UsageError
from harness.images.chosen import Images, chosen
from harness.options import ClusterSettings

PRIVILEGED = "pod-security.kubernetes.io/enforce"
"""Hosts of the matrix are pods on their node's network, which the default level may forbid."""

_NO_OUTSIDE = "nothing outside of this cluster is ours: outside hosts are not run"


@dataclass(frozen=True, slots=True)
class Invitation:
    """Which cluster is meant, what is going to be done there, and whether its owner agreed."""

    way: Way
    border: Border
    intent: Intent
    images: Images
    agreed: bool

    def pulled(self) -> tuple[str, ...]:
        """Return the images that nodes have to have, or to pull."""
        if self.intent.installs:
            return self.images.all()
        return self.images.without_enforcer()


def invitation(settings: ClusterSettings) -> Invitation:
    """Return what the settings say of a cluster that exists."""
    images = chosen(settings.image, settings.load_image)
    border = Border(frozenset(settings.namespaces))
    intent = Intent(border.homes(), images.workload, settings.installs)
    way = Way(settings.kubeconfig, settings.context, settings.kubectl)
    return Invitation(way, border, intent, images, settings.agreed)


def invited(settings: ClusterSettings, tell: Tell | None = None) -> GuestCluster:
    """Return the cluster that the settings name."""
    return GuestCluster(invitation(settings), settings.name or names.fresh(), tell or say_nothing)


class GuestCluster(KubeCluster):
    """Everything in namespaces of our own, which go at the end with all that is in them."""

    kind = "kubeconfig"

    def __init__(self, invitation: Invitation, name: str, tell: Tell = say_nothing) -> None:
        """Prepare; nothing is touched yet."""
        super().__init__(name, invitation.images, tell)
        self._invitation = invitation
        self._border = invitation.border
        self._met: tuple[Access, Survey] | None = None

    def _reach(self, stack: contextlib.ExitStack) -> Reached:
        """Look once more, whatever was seen when a person agreed; then make the namespaces."""
        given = self._invitation
        if not given.agreed:
            raise UsageError("the cluster's owner was not asked; say --yes to go on")
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="npd-guest-"))
        access = find_access(given.way, Path(folder))
        found = survey(access.kubectl, given.intent)
        self._met = access, found
        spaces = labelled(map(_namespace, given.intent.namespaces))
        stack.callback(access.kubectl.delete, spaces)
        access.kubectl.apply(spaces)
        return Reached(access.kubectl, found.machines.used, None, _NO_OUTSIDE)

    def describe(self) -> Mapping[str, Any]:
        """Return which cluster it is, and what was found there."""
        told = {"kind": self.kind, "images": list(self._invitation.pulled())}
        if self._met is None:
            return told
        access, found = self._met
        return told | {
            "context": access.context,
            "server": access.server,
            "kubernetes": access.version,
            "nodes": [one.name for one in found.machines.used],
            "may enforce": [str(one) for one in found.enforcers],
            "notes": list(found.notes),
        }

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create the objects in namespaces of our own, or replace those that exist."""
        super().apply(self._border.to_cluster(manifests))

    def delete(self, manifests: Iterable[Manifest]) -> None:
        """Delete the objects; those that are gone already are fine."""
        super().delete(self._border.to_cluster(manifests))

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        """Set annotations of a pod of ours."""
        super().annotate(self._border.pod(pod), changes)

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Return when every pod of ours (of one namespace) is Ready; others' are not looked at."""
        own = self._border.homes() if namespace is None else (self._border.outer(namespace),)
        for one in own:
            super().wait_ready(one, timeout)

    def address_of(self, pod: PodRef) -> str:
        """Return the address of a pod of ours."""
        return super().address_of(self._border.pod(pod))

    def space(self, namespace: str) -> str:
        """Return what a scenario's namespace is called on the cluster."""
        return self._border.outer(namespace)

    def _door(self, place: Place) -> Door:
        return super()._door(self._border.pod(place) if isinstance(place, PodRef) else place)

    def _runner_in(self, pod: PodRef) -> Runner:
        return super()._runner_in(self._border.pod(pod))


def _namespace(name: str) -> Manifest:
    labels = {PRIVILEGED: "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
