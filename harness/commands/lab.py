"""``harness lab``: what rules cost, counted in instructions, on a stock kernel in a QEMU guest."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.commands.choices import results_option
from harness.errors import HarnessError, Interrupted, UsageError
from harness.lab import debian, dumps, machine, report, study
from harness.lab import errand as errands
from harness.lab.cells import Cell, Kind, chosen, default_cells
from harness.lab.debian import Release
from harness.lab.dumps import Dump
from harness.lab.errand import Errand
from harness.lab.loads import Load
from harness.lab.machine import Clock
from harness.measure.progress import Narrator
from harness.options import PatientCommand, PatientOption
from harness.results import RunFolder

FULL, SHORT = 800, 300
"""Requests a cell with a new connection each: of the cost table alone, and of a whole run."""

PACKETS = 150
"""A cell, of either kind, some times over: they repeat within some tens of instructions."""

OF_IPTABLES = (Cell(Kind.DUMP_LEGACY), Cell(Kind.DUMP_NFT))
OF_NFT = (Cell(Kind.DUMP_RULESET),)
"""What is measured beside the rest where rules were dumped, by what had made them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of this command."""

    kernel: str
    mirror: str
    only: tuple[str, ...]
    requests: int | None
    jobs: int
    rules: Path | None
    ipset: Path | None
    pod: str
    cost: bool
    tests: bool
    functional: bool
    execute: str
    results: Path
    arguments: tuple[str, ...]

    def check(self) -> None:
        """Raise UsageError with every mistake."""
        if mistakes := [*self._about_combinations(), *self._about_dump(), *self._about_only()]:
            raise UsageError("\n".join(mistakes))

    def _about_combinations(self) -> Iterator[str]:
        modes = (self.tests, self.functional, bool(self.execute), self.cost)
        words = " ".join(self.arguments)
        if sum(modes) > 1:
            yield "--tests, --functional, --execute and --cost: one of them at a time"
        if words and not any(modes[:2]):
            yield f"{words}: only --tests and --functional take arguments"
        if self.ipset and not self.rules:
            yield "--ipset: without --rules there is nothing that asks these sets"
        if self.ipset and self._dumped() == OF_NFT:
            yield f"--ipset: {self.rules} is of nft, whose rules ask no sets of ipset"
        if self.pod and not self.rules:
            yield "--pod: it is one of the dump's; give that by --rules"

    def _about_dump(self) -> Iterator[str]:
        try:
            self.dump()
        except UsageError as error:
            yield str(error)

    def _about_only(self) -> Iterator[str]:
        if not self.cells():
            yield f"--only: {' or '.join(self.only)} is of a dump; give that by --rules"

    @property
    def measures(self) -> bool:
        """Whether the cost table is asked for, alone or with all else."""
        return not (self.tests or self.functional or self.execute)

    @property
    def only_measures(self) -> bool:
        """Whether nothing but the cost table, or some of it, is asked for."""
        return self.cost or bool(self.only or self.rules)

    @property
    def new(self) -> int:
        """How many requests with a new connection each a cell has."""
        return self.requests or (FULL if self.only_measures else SHORT)

    def errand(self) -> Errand | None:
        """Return what commands are to run in guests."""
        if self.tests:
            return errands.tests(self.arguments, self.jobs)
        if self.functional:
            return errands.functional(self.arguments)
        if self.execute:
            return errands.command(self.execute)
        return None if self.only_measures else errands.chosen()

    def dump(self) -> Dump | None:
        """Return the rules that are to be measured, too."""
        if self.rules is None:
            return None
        return dumps.read(self.rules, self.ipset, self.pod)

    def cells(self) -> tuple[Cell, ...]:
        """Return what is to be measured."""
        return chosen((*default_cells(), *self._dumped()), self.only)

    def _dumped(self) -> tuple[Cell, ...]:
        if self.rules is None:
            return ()
        return OF_NFT if dumps.is_nft(self.rules.read_text()) else OF_IPTABLES

    def counts(self) -> dict[Load, int]:
        """Return how many requests or packets a cell is measured with."""
        packets = dict.fromkeys((Load.FIRST, Load.LATER), PACKETS)
        return {Load.NEW: self.new, Load.KEPT: 2 * self.new, **packets}


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether it is an address."""
    del ctx, param
    return dumps.as_address(value) if value else ""


def _words(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Find out now whether a cell is called so."""
    del ctx, param
    if not chosen((*default_cells(), *OF_IPTABLES, *OF_NFT), value):
        raise UsageError(f"--only: no cell is called like {' or '.join(value)}")
    return value


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=PatientCommand, context_settings={"ignore_unknown_options": True})
@click.option(
    "--kernel",
    cls=PatientOption,
    type=click.Choice([release.value for release in Release]),
    default=Release.DEBIAN_12.value,
    show_default=True,
    help="Whose kernel the guest boots.",
)
@click.option("--mirror", default=debian.MIRROR, show_default=True, help="Where Debian is.")
@click.option(
    "--only",
    cls=PatientOption,
    callback=_words,
    multiple=True,
    metavar="WORDS",
    help="Only cells with these words in their name, and their baselines; several times: any.",
)
@click.option(
    "--requests",
    cls=PatientOption,
    type=click.IntRange(min=100),
    help="Requests a cell with a new connection each; twice as many on kept ones."
    f"  [default: {FULL}; {SHORT} in a whole run]",
)
@click.option(
    "--jobs",
    cls=PatientOption,
    type=click.IntRange(min=1),
    default=machine.places,
    help="Guests at a time; by default as many as there are cores and 3 GiB of memory for.",
)
@click.option(
    "--rules",
    cls=PatientOption,
    type=_FILE,
    help="Measure this dump of iptables-save or of nft list ruleset, too.",
)
@click.option(
    "--ipset", cls=PatientOption, type=_FILE, help="The dump of ipset save that --rules needs."
)
@click.option(
    "--pod",
    cls=PatientOption,
    callback=_address,
    default="",
    metavar="ADDRESS",
    help="The pod of --rules whose rules are measured; without it, one of kube-router's.",
)
@click.option(
    "--cost", is_flag=True, help="Only the cost table, as with --only or --rules, and in full."
)
@click.option(
    "--tests",
    is_flag=True,
    help="Only tests/kernel, all of it in the guest, or what pytest's ARGUMENTS name.",
)
@click.option(
    "--functional",
    is_flag=True,
    help="Only judge the bundled enforcer in the guest: the study, SCTP, IPVS; or what the"
    " ARGUMENTS of harness functional name.",
)
@click.option(
    "--execute",
    default="",
    metavar="COMMAND",
    help="Only run a command in the guest, as: 'python -m harness functional'.",
)
@results_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(**options: Any) -> None:
    """Count what rules cost, in a guest whose clock counts instructions. Needs no root.

    Then try there what this machine's kernel may lack: SCTP, IPVS, flowtables, and the study.
    """
    asked = Asked(**options)
    asked.check()
    dump, cells, errand = asked.dump(), asked.cells(), asked.errand()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    machine.require()
    narrator = Narrator(Console(highlight=False))
    kernel = debian.kernel(Release(asked.kernel), asked.mirror)
    narrator.say(f"a guest with Linux {kernel.version}, {machine.MEMORY_MIB} MiB")
    failed: list[str] = []
    if asked.measures:
        plan = study.Plan(kernel, cells, asked.counts(), asked.jobs, dump)
        failed += _measure(asked, plan, narrator)
    if errand:
        failed += _run_in_guest(asked, errand, kernel, narrator)
    if failed:
        raise HarnessError("\n".join(failed))


def _folder(asked: Asked, kernel: debian.Kernel, scenario: str, clock: Clock) -> RunFolder:
    return RunFolder.create(
        asked.results,
        cluster="lab",
        scenario=scenario,
        command=["harness", *sys.argv[1:]],
        settings={
            "kernel": kernel.version,
            "release": asked.kernel,
            "requests_new": asked.new,
            "requests_kept": 2 * asked.new,
            "packets": PACKETS,
            "only": list(asked.only),
            "qemu": " ".join((*machine.PROCESSOR, *clock.value)),
        },
    )


def _measure(asked: Asked, plan: study.Plan, narrator: Narrator) -> list[str]:
    """Measure and report; return what could not be measured."""
    folder = _folder(asked, plan.kernel, "cost", Clock.INSTRUCTIONS)
    narrator.say(
        f"{len(plan.cells)} cells, each in {study.PASSES} guests; results in {folder.path}"
    )
    try:
        with narrator.stage("rates", plan.total) as stage:
            rows = study.run(plan, folder, stage)
    except KeyboardInterrupt:
        folder.finish("partial", reason="interrupted")
        raise Interrupted(f"interrupted; what was measured is in {folder.path}") from None
    except HarnessError as error:
        folder.finish("failed", reason=str(error))
        raise
    failed = sorted({f"{row.cell}: {row.error}" for row in rows if row.error})
    folder.finish("failed" if failed else "passed", cpu_seconds=machine.cpu_seconds())
    path = report.write(folder)
    click.echo((folder.path / report.MARKDOWN).read_text())
    narrator.say(f"report: {path}")
    return [f"not measured: {line}" for line in failed]


def _run_in_guest(
    asked: Asked, errand: Errand, kernel: debian.Kernel, narrator: Narrator
) -> list[str]:
    """Run commands and report; return a sentence where one failed."""
    folder = _folder(asked, kernel, errand.name, Clock.PATIENT)
    narrator.say(f"results in {folder.path}")
    try:
        code = errands.run(errand, kernel, folder, asked.jobs)
    except KeyboardInterrupt:
        folder.finish("partial", reason="interrupted")
        raise Interrupted(f"interrupted; what was printed is in {folder.path}") from None
    except HarnessError as error:
        folder.finish("failed", reason=str(error))
        raise
    folder.finish("passed" if code == 0 else "failed", exit_code=code)
    narrator.say(f"exit code {code}; report: {folder.path / errands.REPORT}")
    return [f"a command in the guest ended with {code}"] if code else []
