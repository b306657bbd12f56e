"""Mutants as the harness installs them: the enforcer that they break, with another program."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.enforcers.bundled import Bundled
from harness.enforcers.daemons import Command
from harness.enforcers.kube_router_model.enforcer import KubeRouterModel
from tests.mutation.catalogue import Kind, Mutant
from tests.mutation.enforcer import LATE, SOUND

ROOT = str(Path(__file__).resolve().parents[2])


def _program(command: Command, name: str) -> Command:
    """Return the command line with a mutant's program in place of its own."""
    arguments = command.argv[3:]  # behind: python -m PROGRAM
    argv = (sys.executable, "-m", "tests.mutation.enforcer", name, *arguments)
    return Command(argv, {**command.env, "PYTHONPATH": ROOT})


class BrokenBundled(Bundled):
    """The bundled enforcer, broken."""

    def __init__(self, name: str, flags: tuple[str, ...] = ()) -> None:
        """Take the mutant's name and flags."""
        super().__init__(flags)
        self.mutant = name

    def command(self, cluster: Cluster, node: str) -> Command:
        """Return the mutant's command line."""
        return _program(super().command(cluster, node), self.mutant)


class Layout(KubeRouterModel):
    """A rule layout: the mended one, or one with a defect."""

    def __init__(self, name: str) -> None:
        """Take the mutant's name."""
        super().__init__()
        self.mutant = name

    def command(self, cluster: Cluster, node: str) -> Command:
        """Return the layout's command line."""
        return _program(super().command(cluster, node), self.mutant)


def broken(mutant: Mutant) -> Enforcer:
    """Return a mutant as an enforcer."""
    match mutant.kind:
        case Kind.BUNDLED:
            return BrokenBundled(mutant.name, mutant.flags)
        case Kind.LAYOUT:
            return Layout(mutant.name)


def sound(kind: Kind) -> Enforcer:
    """Return what the mutants of a kind are made from, unbroken: the control."""
    match kind:
        case Kind.BUNDLED:
            return Bundled()
        case Kind.LAYOUT:
            return Layout(SOUND)


def late() -> Enforcer:
    """Return the bundled enforcer, right but slow."""
    return BrokenBundled(LATE)
