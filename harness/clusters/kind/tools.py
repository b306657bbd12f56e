"""What a kind cluster needs of this machine: found, or named with the command that helps.

Nothing is ever downloaded: kind and kubectl come from ``$KIND`` and ``$KUBECTL`` or ``PATH``, the
node image from ``$KIND_NODE_IMAGE``, and it has to be in docker's store already.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MissingError
from harness.requirements import find_tool

NODE_IMAGE = "KIND_NODE_IMAGE"

INSTALL = {
    "docker": "run: apt-get install docker.io",
    "kind": "run: go install sigs.k8s.io/kind@latest",
    "kubectl": "see https://kubernetes.io/docs/tasks/tools/",
}
"""How one comes by each program."""

FEW_NODES = 2
LIMITS = {
    # https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files
    "fs.inotify.max_user_instances": (128, 512),
    "fs.inotify.max_user_watches": (8_192, 524_288),
}
"""What the kernel has to allow for a few nodes (its own defaults), and for more."""


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


def find_tools(images: Sequence[str] = (), nodes: int = FEW_NODES) -> Tools:
    """Return what this machine has; MissingError with a line for everything that it lacks.

    ``images`` of ours have to be in docker's store, too.
    """
    paths = {name: _program(name) for name in INSTALL}
    complaints = [
        f"{name} is not installed; {INSTALL[name]}" for name, path in paths.items() if path is None
    ]
    if importlib.util.find_spec("pytest_kind") is None:
        complaints.append('pytest-kind is not installed; run: pip install -e ".[kind]"')
    image = os.environ.get(NODE_IMAGE, "")
    if not image:
        complaints.append(f"no node image: set {NODE_IMAGE} to one in docker's store")
    complaints += _limits(nodes)
    kind, kubectl, docker = paths["kind"], paths["kubectl"], paths["docker"]
    if docker is not None:
        complaints += _store(docker, image, images)
    if complaints or kind is None or kubectl is None or docker is None:
        raise MissingError("\n".join(complaints))
    return Tools(kind, kubectl, docker, image)


def _store(docker: Path, node_image: str, images: Sequence[str]) -> Iterator[str]:
    """Yield what docker lacks."""
    if not _said(docker, "info", "--format", "{{.ServerVersion}}"):
        yield "docker does not answer; run: systemctl start docker"
        return
    if node_image and not _image_id(docker, node_image):
        yield f"no image {node_image}; run: docker pull {node_image}"
    missing = [image for image in images if not _image_id(docker, image)]
    if missing:
        yield f"no image {', '.join(missing)}; run: nox -s image"


def _limits(nodes: int) -> Iterator[str]:
    """Yield which of the kernel's limits are too low."""
    for name, (for_few, for_more) in LIMITS.items():
        least = for_few if nodes <= FEW_NODES else for_more
        if int(Path("/proc/sys", *name.split(".")).read_text()) < least:
            yield f"{name} is too low for {nodes} nodes; run: sysctl -w {name}={least}"


def _image_id(docker: Path, image: str) -> str:
    return _said(docker, "image", "inspect", "--format", "{{.Id}}", image)


def _program(name: str) -> Path | None:
    """Return a program by its variable, or by its name on PATH."""
    found = find_tool(os.environ.get(name.upper(), name))
    return Path(found) if found else None


def _said(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
