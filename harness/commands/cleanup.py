"""``harness cleanup``: remove what a run that crashed left on somebody's cluster."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from harness.clusters.existing.access import Way, find_access
from harness.clusters.existing.cleanup import find, remove
from harness.clusters.existing.rights import in_words, missing
from harness.clusters.kube.kubectl import Kubectl
from harness.commands.consent import ask, yes_option
from harness.enforcers.deployment import FOR_SWEEPING, Deployment, find_deployment
from harness.errors import UsageError


@click.command()
@click.option("--kubeconfig", default="", help="The file; else $KUBECONFIG, or ~/.kube/config.")
@click.option("--context", default="", help="Its context; else the current one.")
@click.option("--kubectl", default="", help="The program; else $KUBECTL, or kubectl on PATH.")
@yes_option
def command(kubeconfig: str, context: str, kubectl: str, *, yes: bool) -> None:
    """Remove what runs of the harness left on a cluster, by their label, and nothing else.

    Where one of them deployed an enforcer, its tables are taken off the nodes, too, by its own
    image. Shows what there is and asks first. A run that is going on there loses its pods as well.
    """
    with tempfile.TemporaryDirectory(prefix="npd-cleanup-") as folder:
        access = find_access(Way(kubeconfig, context, kubectl), Path(folder))
        found = find(access.kubectl)
        if not found:
            click.echo(f"{access}: nothing of ours is there")
            return
        deployed = find_deployment(access.kubectl)
        shown = [f"{access}:", *(f"  {one}" for one in found)]
        if deployed is not None:
            _require_rights(access.kubectl)
            shown.append(f"  {_tables(deployed)}, by a pod of {deployed.image} on each")
        if not ask(shown, "Remove this, with all that is in these namespaces?", yes=yes):
            raise click.Abort
        if deployed is not None:
            deployed.finish(access.kubectl)
            click.echo(f"removed {_tables(deployed)}")
        remove(access.kubectl, found)
        for one in found:
            click.echo(f"removed {one}")


def _tables(deployed: Deployment) -> str:
    return f"the enforcer's tables on {', '.join(deployed.nodes)}"


def _require_rights(kubectl: Kubectl) -> None:
    lacking = missing(kubectl, FOR_SWEEPING)
    if lacking:
        raise UsageError(in_words(lacking))
