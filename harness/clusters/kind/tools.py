"""What a kind cluster needs of this machine: found, or named with the command that helps.

Nothing is ever downloaded: kind and kubectl are where options, ``$KIND`` and ``$KUBECTL`` or
``PATH`` say, and the node image, an option's or ``$KIND_NODE_IMAGE``, has to be in docker's store
already. What the kernel has to allow is :mod:`harness.clusters.kind.preflight`'s.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.kind import preflight
from harness.clusters.kind.config import KindShape
from harness.errors import MissingError
from harness.images.recipes import RECIPES, Architecture
from harness.requirements import DOWNLOADS, download_command, find_tool, install_command

NODE_IMAGE = "KIND_NODE_IMAGE"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which programs and images are meant; what is empty is found as the module says."""

    kind: str = ""
    kubectl: str = ""
    node_image: str = ""
    images: tuple[str, ...] = ()
    """What pods run: in docker's store, too."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs and the image that a kind cluster is made with."""

    kind: Path
    kubectl: Path
    docker: Path
    node_image: str

    def versions(self) -> Mapping[str, str]:
        """Return what exactly these are, for ``run.json``."""
        return {
            "kind": _said(self.kind, "version"),
            "kubectl": _said(self.kubectl, "version", "--client", "-o", "yaml"),
            "docker": _said(self.docker, "version", "--format", "{{.Server.Version}}"),
            "node image": f"{self.node_image} {self.image_id(self.node_image)}",
        }

    def image_id(self, image: str) -> str:
        """Return the digest of an image in docker's store; empty where it is not there."""
        return _image_id(self.docker, image)


def find_tools(wish: Wish | None = None, shape: KindShape | None = None) -> Tools:
    """Return what this machine has; MissingError with a line for everything that it lacks.

    What a cluster of such a ``shape`` needs of the kernel and the disk is looked at, too.
    """
    wish, shape = wish or Wish(), shape or KindShape()
    said = {"kind": wish.kind, "kubectl": wish.kubectl, "docker": ""}
    paths = {name: _program(name, path) for name, path in said.items()}
    problems = [_absent(name, said[name]) for name, path in paths.items() if path is None]
    if importlib.util.find_spec("pytest_kind") is None:
        problems.append('pytest-kind is not installed; run: pip install -e ".[kind]"')
    image = wish.node_image or os.environ.get(NODE_IMAGE, "")
    if not image:
        problems.append(f"no node image: say --node-image, or set {NODE_IMAGE}")
    kind, kubectl, docker = paths["kind"], paths["kubectl"], paths["docker"]
    store = None
    if docker is not None:
        problems += _store(docker, image, wish.images)
        folder = _said(docker, "info", "--format", "{{.DockerRootDir}}")
        store = Path(folder) if folder else None
    problems += preflight.complaints(shape, preflight.Machine(store=store))
    if problems or kind is None or kubectl is None or docker is None:
        raise MissingError("\n".join(problems))
    return Tools(kind, kubectl, docker, image)


def _absent(name: str, said: str) -> str:
    if said:
        return f"--{name} {said}: there is no such program"
    command = download_command(name) if name in DOWNLOADS else install_command([name])
    return f"{name} is not installed; run: {command}"


def _store(docker: Path, node_image: str, images: Sequence[str]) -> Iterator[str]:
    """Yield what docker lacks."""
    if not _said(docker, "info", "--format", "{{.ServerVersion}}"):
        yield "docker does not answer; run: systemctl start docker"
        return
    if node_image and not _image_id(docker, node_image):
        yield f"no image {node_image}; run: docker pull {node_image}"
    missing = [image for image in images if not _image_id(docker, image)]
    ours = {recipe.reference(Architecture.own()) for recipe in RECIPES.values()}
    for image in missing:
        command = "nox -s image" if image in ours else f"docker pull {image}"
        yield f"no image {image}; run: {command}"


def _image_id(docker: Path, image: str) -> str:
    return _said(docker, "image", "inspect", "--format", "{{.Id}}", image)


def _program(name: str, path: str) -> Path | None:
    """Return a program by its path, by its variable, or by its name on PATH."""
    found = find_tool(path or os.environ.get(name.upper(), "") or name)
    return Path(found) if found else None


def _said(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
