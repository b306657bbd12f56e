"""``harness cleanup``: remove what a run that crashed left on somebody's cluster."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from harness.clusters.existing.access import find_access
from harness.clusters.existing.cleanup import find, remove
from harness.commands.consent import ask, yes_option


@click.command()
@click.option("--kubeconfig", default="", help="The file; else $KUBECONFIG, or ~/.kube/config.")
@click.option("--context", default="", help="Its context; else the current one.")
@yes_option
def command(kubeconfig: str, context: str, *, yes: bool) -> None:
    """Remove what runs of the harness left on a cluster, by their label, and nothing else.

    Shows what there is and asks first. A run that is going on there loses its pods as well.
    """
    with tempfile.TemporaryDirectory(prefix="npd-cleanup-") as folder:
        access = find_access(kubeconfig, context, Path(folder))
        found = find(access.kubectl)
        if not found:
            click.echo(f"{access}: nothing of ours is there")
            return
        shown = [f"{access}:", *(f"  {one}" for one in found)]
        if not ask(shown, "Remove this, with all that is in these namespaces?", yes=yes):
            raise click.Abort
        remove(access.kubectl, found)
        for one in found:
            click.echo(f"removed {one}")
