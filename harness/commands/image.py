"""``harness image``: build the project's container images, without an image registry."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import UsageError
from harness.images.build import build
from harness.images.engine import ENGINES, find_engine
from harness.images.recipes import RECIPES, Architecture
from harness.options import PatientArgument, PatientCommand, PatientOption

_MIB = 1 << 20


def _known(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Find out now whether there are such images."""
    del ctx, param
    unknown = sorted({*value} - {*RECIPES})
    if unknown:
        raise UsageError(f"no such image: {', '.join(unknown)}; there are: {', '.join(RECIPES)}")
    return value


@click.command(cls=PatientCommand)
@click.argument("images", nargs=-1, cls=PatientArgument, metavar="[IMAGE]...", callback=_known)
@click.option(
    "--arch",
    "architectures",
    cls=PatientOption,
    multiple=True,
    type=click.Choice([item.value for item in Architecture]),
    default=[Architecture.AMD64.value],
    show_default=True,
    help="For which machine; may be given more than once.",
)
@click.option(
    "--engine",
    cls=PatientOption,
    type=click.Choice(ENGINES),
    help="Docker or podman; the one there is.",
)
@click.option("--mirror", help="The Debian archive to take packages from; this machine's own.")
@click.option(
    "--save",
    "folder",
    cls=PatientOption,
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each image to a tar file in this folder, too.",
)
def command(
    images: tuple[str, ...],
    architectures: tuple[str, ...],
    engine: str | None,
    mirror: str | None,
    folder: Path | None,
) -> None:
    """Build container images (all of them, or those named) from Debian packages and wheels."""
    found = find_engine([engine] if engine else ENGINES)
    for name in images or RECIPES:
        for architecture in map(Architecture, architectures):
            tag = build(RECIPES[name], architecture, found, mirror, _tell)
            click.echo(f"{tag}: {found.size(tag) / _MIB:.0f} MiB")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                target = folder / f"{tag.replace(':', '-')}.tar"
                found.save(tag, target)
                click.echo(target)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
