"""What a kind cluster needs of this machine: found, or named with the command that helps.

Nothing is ever downloaded: kind and kubectl come from ``$KIND`` and ``$KUBECTL`` or ``PATH``, the
node image from ``$KIND_NODE_IMAGE``, and it has to be in docker's store already.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MissingError
from harness.requirements import find_tool

NODE_IMAGE = "KIND_NODE_IMAGE"

LIMITS = {
    # https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files
    "fs.inotify.max_user_instances": 128,
    "fs.inotify.max_user_watches": 8_192,
}
"""The kernel's own defaults, which two nodes are content with; more nodes want 512 and 524,288."""


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
        return _said(self.docker, "image", "inspect", "--format", "{{.Id}}", image)


def find_tools() -> Tools:
    """Return what this machine has; MissingError with a line for everything that it lacks."""
    paths = {name: _program(name) for name in ("kind", "kubectl", "docker")}
    image = os.environ.get(NODE_IMAGE, "")
    complaints = [f"{name} is not installed" for name, path in paths.items() if path is None]
    if importlib.util.find_spec("pytest_kind") is None:
        complaints.append('pytest-kind is not installed; run: pip install -e ".[kind]"')
    if not image:
        complaints.append(f"no node image: set {NODE_IMAGE} to one in docker's store")
    kind, kubectl, docker = paths["kind"], paths["kubectl"], paths["docker"]
    if kind is None or kubectl is None or docker is None:
        raise MissingError("\n".join(complaints))
    tools = Tools(kind, kubectl, docker, image)
    complaints += _complaints(tools)
    if complaints:
        raise MissingError("\n".join(complaints))
    return tools


def _complaints(tools: Tools) -> Sequence[str]:
    """Return what docker or the kernel's limits lack."""
    if not _said(tools.docker, "info", "--format", "{{.ServerVersion}}"):
        return ["docker does not answer; run: systemctl start docker"]
    found = []
    if tools.node_image and not tools.image_id(tools.node_image):
        found.append(f"no image {tools.node_image}; run: docker pull {tools.node_image}")
    for name, least in LIMITS.items():
        if int(Path("/proc/sys", *name.split(".")).read_text()) < least:
            found.append(f"{name} is too low; run: sysctl -w {name}={least}")
    return found


def _program(name: str) -> Path | None:
    """Return a program by its variable, or by its name on PATH."""
    found = find_tool(os.environ.get(name.upper(), name))
    return Path(found) if found else None


def _said(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
