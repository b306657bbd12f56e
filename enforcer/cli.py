"""The ``enforcer`` command: run, cleanup, render. Only :func:`main` ends the process."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from enforcer import __version__
from enforcer.errors import EnforcerError
from enforcer.flags import run_options, settings_from
from enforcer.log import configure

logger = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="enforcer")
def enforcer() -> None:
    """Enforce Kubernetes NetworkPolicy on this node through nftables."""


@enforcer.command()
@run_options
def run(**values: str | None) -> None:
    """Watch the cluster and enforce its policies until SIGTERM; the rules stay.

    kube-router's flags are taken as they stand; one that means nothing here is accepted with a
    warning that says what takes its place.
    """
    from enforcer import daemon  # noqa: PLC0415  # so that --help and mistakes answer at once

    settings, warnings = settings_from(values)
    configure(settings.log_level, settings.log_format)
    for warning in warnings:
        logger.warning("%s", warning)
    asyncio.run(daemon.run(settings))


@enforcer.command()
def cleanup() -> None:
    """Remove our tables from this node and put bridge flags back to what they were."""
    from enforcer.cleanup import clean  # noqa: PLC0415  # as above

    removed = clean()
    click.echo("\n".join(f"removed {item}" for item in removed) or "nothing of ours was here")


@enforcer.command()
@click.option("--node", required=True, help="Name of the Node to render for.")
@click.option(
    "-f",
    "--file",
    "dump",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Objects as `kubectl get pods,namespaces,nodes,networkpolicies -A -o json` prints them.",
)
def render(node: str, dump: Path) -> None:
    """Print the nft program of a node for a dumped cluster, without a kernel."""
    from enforcer.render import rendered  # noqa: PLC0415  # as above

    program, problems = rendered(dump, node)
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    click.echo(program, nl=False)


def main() -> None:
    """Run the command; an expected failure is a message and an exit code, never a traceback."""
    try:
        enforcer(prog_name="enforcer")
    except EnforcerError as error:
        for line in str(error).splitlines():
            click.echo(f"enforcer: {line}", err=True)
        sys.exit(error.exit_code)
