"""The ``enforcer`` command. Only :func:`main` ends the process."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import BinaryIO

import click

from enforcer import __version__
from enforcer.errors import EnforcerError, SettingsError
from enforcer.flags import each_interface, options_for, run_options, settings_from
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
@click.option(
    "--kube-router",
    is_flag=True,
    help="Remove instead what kube-router's firewall left: rules, chains, ipsets. Ours stays.",
)
@click.option("--dry-run", is_flag=True, help="With --kube-router: name it, and remove nothing.")
def cleanup(*, kube_router: bool, dry_run: bool) -> None:
    """Remove our tables from this node and put bridge flags back to what they were."""
    if dry_run and not kube_router:
        raise click.UsageError("--dry-run goes with --kube-router")
    if kube_router:
        _clean_kube_router(dry_run=dry_run)
        return
    from enforcer.cleanup import clean  # noqa: PLC0415  # as above

    removed = clean()
    click.echo("\n".join(f"removed {item}" for item in removed) or "nothing of ours was here")


def _clean_kube_router(*, dry_run: bool) -> None:
    """Name what kube-router left here, and remove it unless told not to."""
    from enforcer import leftovers  # noqa: PLC0415  # as above

    found = leftovers.find()
    for program in found.unseen:
        click.echo(f"warning: not looked at, as {program} is not installed here", err=True)
    if not str(found):
        click.echo("nothing of kube-router's is here")
        return
    if not dry_run:
        leftovers.remove(found)
    verb = "found" if dry_run else "removed"
    click.echo("\n".join(f"{verb} {line}" for line in str(found).splitlines()))


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
@click.option(
    "--pod-interface",
    "pod_interfaces",
    multiple=True,
    callback=each_interface,
    metavar="NAME",
    help="An interface of the node that leads to pods; may be given several times.",
)
@click.option(
    "--fast-interface",
    "fast_interfaces",
    multiple=True,
    callback=each_interface,
    metavar="NAME",
    help="An interface of the fast path; may be given several times.",
)
def render(
    node: str, dump: Path, pod_interfaces: frozenset[str], fast_interfaces: frozenset[str]
) -> None:
    """Print the nft program of a node for a dumped cluster, without a kernel."""
    from enforcer.render import rendered  # noqa: PLC0415  # as above
    from enforcer.wiring import Wiring  # noqa: PLC0415  # as above

    wiring = Wiring(pod_interfaces, fast=fast_interfaces)
    program, problems = rendered(dump, node, wiring)
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    click.echo(program, nl=False)


_OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or for programs.",
)


@enforcer.command()
@click.argument("client", metavar="FROM")
@click.argument("target", metavar="TO:PORT[/PROTO]")
@options_for("node_name", "kubeconfig", "master", "service_cidr")
@click.option(
    "-f",
    "--file",
    "dump",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A dumped cluster (as for render) in place of the live one; the kernel is not asked.",
)
@_OUTPUT
def explain(client: str, target: str, dump: Path | None, output: str, **values: str | None) -> None:
    """Say who may reach whom, which policy and rule decides, and whether the kernel agrees.

    FROM and TO are NAMESPACE/POD, node/NAME or an address; PROTO is tcp (the default), udp or
    sctp, and TO/icmp asks for ICMP. A connection through a Service (ClusterIP, NodePort) is one to
    its backend: ask about that pod and its port. The exit code is 1 where policies and kernel
    differ.
    """
    from enforcer import inspection  # noqa: PLC0415  # as above

    sys.exit(inspection.explain(client, target, inspection.Source(values, dump), output))


@enforcer.command()
@run_options
@_OUTPUT
def diff(output: str, **values: str | None) -> None:
    """Show what a sync would change in this node's table now, and change nothing.

    Takes the flags of the daemon that runs here; other flags would be other rules. The exit code
    is 1 where there is something to change.
    """
    from enforcer import inspection  # noqa: PLC0415  # as above

    sys.exit(inspection.diff(values, output))


@enforcer.command()
@options_for("health_address", "health_port")
@_OUTPUT
def status(output: str, **values: str | None) -> None:
    """Show our tables in this node's kernel, and what the daemon says of itself."""
    from enforcer import inspection  # noqa: PLC0415  # as above

    inspection.status(values, output)


@enforcer.command()
@options_for("node_name", "kubeconfig", "master", "health_address", "health_port")
@click.option(
    "-f",
    "--file",
    "target",
    type=click.File("wb"),
    default="-",
    help="Where to write the archive; standard output by default.",
)
def sysdump(target: BinaryIO, **values: str | None) -> None:
    """Collect what a bug report needs of this node (tar, gzip), and no secrets.

    Our tables, links, routes and sysctls, the daemon's status and metrics, and the cluster's
    objects cut down to what enforcement reads. Labels and addresses are in it.
    """
    from enforcer.sysdump import write  # noqa: PLC0415  # as above

    settings, _ = settings_from(values)
    try:
        is_terminal = target.isatty()
    except click.FileError as error:  # it is opened when it is first used
        raise SettingsError(f"--file: {error.format_message()}") from error
    if is_terminal:
        raise SettingsError("the archive is not for a terminal: enforcer sysdump > sysdump.tar.gz")
    for problem in write(settings, target):
        click.echo(f"enforcer: not in the archive: {problem}", err=True)


def main() -> None:
    """Run the command; an expected failure is a message and an exit code, never a traceback."""
    try:
        enforcer(prog_name="enforcer")
    except EnforcerError as error:
        for line in str(error).splitlines():
            click.echo(f"enforcer: {line}", err=True)
        sys.exit(error.exit_code)
