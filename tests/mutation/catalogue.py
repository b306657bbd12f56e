"""What a mutant is, and the list of all of them, which the modules of mutants fill."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Break = Callable[[], None]
"""Breaks the enforcer of this process, for good."""


class Ground(enum.Enum):
    """On which cluster a mutant shows: by the wiring of the nodes, and what else is needed."""

    ROUTED = "routed"
    BRIDGED = "bridged"
    BRIDGED_NF = "bridged_nf"
    IPV6 = "ipv6"
    IPVS = "ipvs"


class Kind(enum.Enum):
    """What is run: the bundled enforcer, or a rule layout of our own making."""

    BUNDLED = "bundled"
    LAYOUT = "layout"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One thing that is broken.

    ``says`` is a sentence. ``flags`` come to the bundled enforcer's command line. ``first`` is the
    case that is tried first, since it caught the mutant before; the others follow. ``also`` is a
    kind of address that only this mutant needs.
    """

    name: str
    says: str
    make: Break
    flags: tuple[str, ...] = ()
    ground: Ground = Ground.ROUTED
    kind: Kind = Kind.BUNDLED
    first: str = ""
    also: str = ""


MUTANTS: dict[str, Mutant] = {}
"""Every mutant by its name, in the order of the report."""


def mutant(
    *flags: str,
    ground: Ground = Ground.ROUTED,
    kind: Kind = Kind.BUNDLED,
    first: str = "",
    also: str = "",
) -> Callable[[Break], Break]:
    """Enter a function into the list: its name and its docstring are the mutant's."""

    def enter(make: Break) -> Break:
        name = make.__name__.replace("_", "-")
        says = (make.__doc__ or "").strip()
        MUTANTS[name] = Mutant(name, says, make, flags, ground, kind, first, also)
        return make

    return enter


Around = Callable[[Callable[..., Any]], Callable[..., Any]]


def wrap(owner: Any, name: str, around: Around) -> None:
    """Put a function in place of ``owner.name``, made around it; AttributeError if it is gone."""
    setattr(owner, name, around(getattr(owner, name)))
