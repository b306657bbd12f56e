"""Broken enforcers that the judge is tried with: each breaks something that is there."""

from __future__ import annotations

import multiprocessing

import click
import pytest

from tests.mutation.__main__ import choose
from tests.mutation.catalogue import Ground
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
