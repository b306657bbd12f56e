"""``harness study-manifest``: the study's own DaemonSet with another image."""

from __future__ import annotations

import click
import yaml

from harness.enforcers.study_manifest import adapt
from harness.matrix.scenario import folder

FILE = "kube-router-firewall-daemonset.yaml"
"""The manifest as the study printed it, beside the study's policies."""


@click.command()
@click.option("--image", required=True, metavar="NAME:TAG", help="The enforcer's image.")
@click.option(
    "--init-image",
    default="busybox",
    show_default=True,
    metavar="NAME:TAG",
    help="The init container's: anything with a shell, cp and mv.",
)
def command(image: str, init_image: str) -> None:
    """Print the study's own manifest with IMAGE in kube-router's place, for kubectl apply -f -.

    What had to change for a cluster of today stands above it as comments, a line for each change;
    all else is word for word. It wants a kubeconfig at /root/.kube/config on every node, as the
    study's did.
    """
    adapted = adapt((folder() / "study" / FILE).read_text(), image, init_image)
    for change in adapted.changes:
        click.echo(f"# {change}")
    click.echo(yaml.safe_dump_all(adapted.manifests, sort_keys=False), nl=False)
