"""``nox -s mutation``: the mutation score of the functional suite."""

from __future__ import annotations

import random
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.errors import HarnessError
from harness.options import ClusterSettings, settings_from
from harness.requirements import require_root
from harness.results import RunFolder
from tests.mutation.catalogue import Ground, Kind, Mutant
from tests.mutation.enforcer import MUTANTS
from tests.mutation.judging import Court, Fate, Suite, Tried, court, why_not
from tests.mutation.report import Score, needed, write


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be tried; ``seed`` is what it was drawn by, if it was."""

    mutants: tuple[Mutant, ...]
    seed: int | None = None

    def by_ground(self) -> dict[Ground, list[Mutant]]:
        """Return the mutants of each cluster."""
        found: defaultdict[Ground, list[Mutant]] = defaultdict(list)
        for one in self.mutants:
            found[one.ground].append(one)
        return dict(found)


def choose(names: Sequence[str], draw: int | None, seed: int | None) -> Chosen:
    """Choose mutants by name, or draw some by a seed, or take all of them."""
    unknown = sorted(set(names) - set(MUTANTS))
    if unknown:
        raise click.UsageError(f"no such mutant: {', '.join(unknown)}; see --list")
    every = tuple(MUTANTS[name] for name in names) or tuple(MUTANTS.values())
    if draw is None:
        return Chosen(every)
    used = secrets.randbelow(10**6) if seed is None else seed
    able = [one for one in every if not why_not(one.ground, settings_of(one.ground))]
    return Chosen(tuple(random.Random(used).sample(able, min(draw, len(able)))), used)


def settings_of(ground: Ground) -> ClusterSettings:
    """Return what the cluster of a ground is made with.

    With an API server of our own it is up soonest; kube-proxy needs the real one.
    """
    plane = "auto" if ground is Ground.IPVS else "builtin"
    return settings_from({"control_plane": plane})


@dataclass(frozen=True, slots=True)
class Trial:
    """A run under way: the suite, the folder of its results, and how many cases are asked."""

    suite: Suite
    folder: RunFolder
    every: bool
    most: int | None

    def try_on(self, ground: Ground, mutants: Iterable[Mutant]) -> tuple[list[Tried], list[str]]:
        """Try the mutants of one ground; return these, and what the sound enforcers fail there."""
        settings = settings_of(ground)
        if reason := why_not(ground, settings):
            return [Tried(one, Fate.NOT_RUN, reason=reason) for one in mutants], []
        logs = self.folder.folder("logs")
        with court(ground, self.suite, settings, logs, say) as here:
            here.every, here.most = self.every, self.most
            tried = [self._try(here, one) for one in mutants]
            return tried, _unsound(here, tried)

    def _try(self, here: Court, one: Mutant) -> Tried:
        tried = here.try_one(one)
        how = tried.reason or "".join(f"{c.case} ({needed(c)})" for c in tried.catches[:1])
        say(f"{tried.fate.value:9} {one.name}: {how} [{tried.seconds:.0f} s]")
        return tried


def _unsound(here: Court, tried: Iterable[Tried]) -> list[str]:
    """Run the sound enforcers on every case that caught something."""
    by_kind: defaultdict[Kind, dict[str, None]] = defaultdict(dict)
    for one in tried:
        by_kind[one.mutant.kind].update(dict.fromkeys(found.case for found in one.catches))
    failed = [one for kind, cases in by_kind.items() for one in here.check_sound(kind, cases)]
    say(f"the sound enforcers pass on {here.ground.value}" if not failed else "; ".join(failed))
    return failed


def say(text: str) -> None:
    """Tell how far it is."""
    click.echo(text)
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked on the command line."""

    names: tuple[str, ...]
    draw: int | None
    seed: int | None
    every: bool
    most: int | None
    listing: bool
    results: Path


@click.command()
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option("--draw", type=click.IntRange(1), help="Try so many, drawn by a seed.")
@click.option("--seed", type=int, help="The seed of the draw; one is made up and printed.")
@click.option("--every", is_flag=True, help="Ask every case, not only up to the first catch.")
@click.option("--most", type=click.IntRange(1), help="Ask each so many cases at most.")
@click.option("--list", "listing", is_flag=True, help="Print the mutants and try none.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"))
def command(**given: Any) -> None:
    """Try broken enforcers: does the functional suite catch each of them? (root).

    Ends with 0 only if every mutant that could be judged was caught, and if the sound enforcer
    passes every case that caught one.
    """
    asked = Asked(**given)
    if asked.listing:
        for one in MUTANTS.values():
            click.echo(f"{one.name:40} {one.ground.value:10} {one.says}")
        return
    require_root("judging mutants")
    chosen = choose(asked.names, asked.draw, asked.seed)
    if chosen.seed is not None:
        say(f"{len(chosen.mutants)} mutants drawn with --seed {chosen.seed}")
    sys.exit(run(chosen, asked))


def run(chosen: Chosen, asked: Asked) -> int:
    """Try what was chosen, write it down, and return the exit code."""
    folder = RunFolder.create(
        asked.results,
        cluster="embedded",
        scenario="mutation",
        command=["python", "-m", "tests.mutation", *sys.argv[1:]],
        settings={
            "mutants": [one.name for one in chosen.mutants],
            "seed": chosen.seed,
            "most": asked.most,
        },
    )
    trial = Trial(Suite.load(), folder, asked.every, asked.most)
    tried: list[Tried] = []
    unsound: list[str] = []
    for ground, mutants in chosen.by_ground().items():
        found, failed = trial.try_on(ground, mutants)
        tried += found
        unsound += failed
        write(folder, tried, unsound, chosen.seed)
    good = not unsound and all(one.fate in {Fate.CAUGHT, Fate.NOT_RUN} for one in tried)
    folder.finish("passed" if good else "failed")
    say(f"{Score.of(tried)}; {sum(one.fate is Fate.NOT_RUN for one in tried)} not run")
    say(str(folder.path / "report.md"))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        command(prog_name="nox -s mutation --", standalone_mode=True)
    except HarnessError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
