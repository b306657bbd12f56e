"""Broken enforcers that the judge is tried with: each breaks something that is there."""

from __future__ import annotations

import multiprocessing
import sys
from ipaddress import ip_address, ip_network

import click
import pytest

from enforcer.model.net import Direction, Family, Protocol
from enforcer.model.objects import Key
from enforcer.nft.objects import Ruleset
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.lower import lower
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import NO_WIRING
from tests.mutation import packets
from tests.mutation.__main__ import choose
from tests.mutation.catalogue import Break, Ground, Mutant
from tests.mutation.enforcer import MUTANTS
from tests.mutation.judging import Catch, Fate, Suite, Tried
from tests.mutation.report import Score, needed

LEAST = 20


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_finds_what_it_breaks(name: str) -> None:
    """A seam that is gone ends the mutant, which would else be judged as a sound enforcer."""
    child = multiprocessing.get_context("fork").Process(target=MUTANTS[name].make)
    child.start()
    child.join()

    assert child.exitcode == 0


ONE_PORT = Allowed(peer_ports=frozenset({(ip_address("10.3.0.1"), Protocol.TCP, 80)}))
POD = LocalPod(
    Key("ns", "p"),
    (ip_address("10.2.0.1"),),
    PolicyClass(Direction.INGRESS, (Key("ns", "np"),), ONE_PORT),
    PolicyClass(Direction.EGRESS, (Key("ns", "np"),), ONE_PORT),
)
COMPILED = CompiledPolicy(
    "node", (POD,), (ip_network("10.2.0.0/24"),), frozenset({ip_address("10.1.0.1")})
)


def tables() -> Ruleset:
    """Return the tables of a node with one pod, isolated in both directions."""
    return lower(COMPILED, NO_WIRING, dict.fromkeys(Family, 1), LowerOptions())


def is_sound(make: Break) -> None:
    """End with 1 where a mutant's tables are those of the sound enforcer."""
    before = tables()
    make()
    sys.exit(tables() == before)


RULES = [
    one
    for one in MUTANTS.values()
    if one.make.__module__ == packets.__name__ and one.ground is not Ground.BRIDGED
]


@pytest.mark.parametrize("one", RULES, ids=lambda one: one.name)
def test_a_mutant_of_rules_has_other_rules(one: Mutant) -> None:
    """A seam that nobody goes through any more breaks nothing, and the sound enforcer survives."""
    child = multiprocessing.get_context("fork").Process(target=is_sound, args=(one.make,))
    child.start()
    child.join()

    assert child.exitcode == 0


def test_there_are_enough_and_each_says_what_is_broken() -> None:
    """The issue asks for twenty; a sentence each."""
    able = [one for one in MUTANTS.values() if one.ground is not Ground.IPVS]

    assert len(able) >= LEAST
    assert all(one.says.endswith(".") for one in MUTANTS.values())


def test_the_case_that_is_tried_first_exists() -> None:
    """Else a mutant costs minutes where it could cost seconds."""
    known = Suite.load().cases

    assert {one.first for one in MUTANTS.values()} <= set(known)


def test_a_draw_is_made_again_by_its_seed() -> None:
    """CI tries five; whoever has its seed tries the same."""
    first, again, other = (choose((), 5, seed) for seed in (7, 7, 8))

    assert len(first.mutants) == 5
    assert first == again
    assert first.mutants != other.mutants
    assert choose((), 5, None).seed is not None


def test_a_mutant_that_does_not_exist_is_wrong_use() -> None:
    """Its name is told."""
    with pytest.raises(click.UsageError, match="no such mutant: nobody"):
        choose(("nobody",), None, None)


def test_the_score_counts_what_was_judged() -> None:
    """A mutant that could not be run is neither caught nor a survivor."""
    mutant = next(iter(MUTANTS.values()))
    fates = (Fate.CAUGHT, Fate.CAUGHT, Fate.SURVIVED, Fate.NOT_RUN)

    score = Score.of([Tried(mutant, fate) for fate in fates])

    assert str(score) == "2 of 3 mutants caught (67 %)"


def test_a_catch_tells_the_axes_on_which_wrong_cells_differ() -> None:
    """The axis that was needed."""
    found = Catch("NP-X", 3, 90, {"placement": ("same_node",), "protocol": ("ICMP", "UDP")}, "")

    assert needed(found) == "placement: same_node; protocol: ICMP, UDP"
    assert needed(Catch("NP-X", 3, 3, {}, "")) == "any"
