"""From a recipe to an image in the engine's store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from harness import __version__
from harness.checkout import commit
from harness.images.engine import Engine
from harness.images.files import root_filesystem
from harness.images.recipes import Architecture, Recipe

Tell = Callable[[str], None]


def build(
    recipe: Recipe, architecture: Architecture, engine: Engine, mirror: str | None, tell: Tell
) -> str:
    """Build an image and return its tag. What is needed on the way is removed again."""
    tag = recipe.reference(architecture)
    with tempfile.TemporaryDirectory(prefix="npd-image-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(recipe.dockerfile.parent, context)
        tell(f"{tag}: unpacking Debian packages and wheels for {architecture.value}")
        root_filesystem(recipe, architecture, Path(folder) / "root.tar", mirror)
        shutil.move(Path(folder) / "root.tar", context / "root.tar")
        tell(f"{tag}: wrapping them up with {Path(engine.program).name}")
        engine.build(context, tag, f"linux/{architecture.value}", labels(recipe))
    return tag


def labels(recipe: Recipe) -> Mapping[str, str]:
    """Return the image's labels: https://specs.opencontainers.org/image-spec/annotations/."""
    return {
        "org.opencontainers.image.title": recipe.title,
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.revision": commit(),
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
