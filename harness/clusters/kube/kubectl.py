"""kubectl, with one kubeconfig and context: what a person would type, and its errors whole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clusters.base import Manifest
from harness.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A cluster as kubectl reaches it; None takes the kubeconfig's current context."""

    program: Path
    kubeconfig: Path
    context: str | None = None

    def argv(self, *arguments: str) -> tuple[str, ...]:
        """Return the command for a shell, or for a process of one's own."""
        context = (f"--context={self.context}",) if self.context else ()
        return (str(self.program), f"--kubeconfig={self.kubeconfig}", *context, *arguments)

    def run(self, *arguments: str, text: str | None = None, timeout: float = 300.0) -> str:
        """Run a command and return what it printed; ClusterError with its argv and last words."""
        done = self.attempt(*arguments, text=text, timeout=timeout)
        if done.returncode:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
            raise ClusterError(f"kubectl {' '.join(arguments)} failed:\n{said}")
        return done.stdout

    def attempt(
        self, *arguments: str, text: str | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail; ClusterError where it takes longer than ``timeout`` s."""
        try:
            return subprocess.run(
                self.argv(*arguments),
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
                env=dict(os.environ),
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"kubectl {' '.join(arguments)} took longer than {timeout:g} s"
            ) from error

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create the objects, or change those that exist."""
        self.run("apply", "-f", "-", text=_list(manifests))

    def create(self, manifests: Iterable[Manifest]) -> list[Manifest]:
        """Create objects that no one has yet, and return each as the API answered it."""
        said = self.run(
            "create", "-o", "json", "--validate=false", "-f", "-", text=_list(manifests)
        )
        return list(_documents(said))

    def delete(self, manifests: Iterable[Manifest], *, wait: bool = True) -> None:
        """Delete the objects, and ``wait`` until they are gone; those that are gone are fine."""
        how = ("--ignore-not-found", f"--wait={str(wait).lower()}")
        self.run("delete", *how, "-f", "-", text=_list(manifests))

    def get(self, *arguments: str) -> Mapping[str, Any]:
        """Return what ``kubectl get`` says, as the API has it."""
        found: Mapping[str, Any] = json.loads(self.run("get", "-o", "json", *arguments))
        return found

    def rollout(self, namespace: str, workload: str, seconds: int = 120) -> None:
        """Return when every pod of a Deployment or DaemonSet is up to date and ready."""
        self.run("-n", namespace, "rollout", "status", workload, f"--timeout={seconds}s")

    def wait_gone(self, *pods: str, seconds: int = 120) -> None:
        """Return when no pod is left that kubectl understands by these words."""
        self.run("wait", "--for=delete", "pods", *pods, f"--timeout={seconds}s")

    def exec(self, namespace: str, pod: str, argv: Sequence[str], timeout: float = 60.0) -> str:
        """Run a command in a pod's first container, and return what it printed."""
        return self.run("-n", namespace, "exec", pod, "--", *argv, timeout=timeout)


def selecting(namespace: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words by which kubectl understands the objects of these labels."""
    return "-n", namespace, "-l", ",".join(f"{key}={value}" for key, value in labels.items())


def _list(manifests: Iterable[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


def _documents(text: str) -> Iterator[Manifest]:
    """Read one JSON document after another: kubectl prints each object by itself."""
    decoder, rest = json.JSONDecoder(), text.lstrip()
    while rest:
        found, end = decoder.raw_decode(rest)
        yield found
        rest = rest[end:].lstrip()
