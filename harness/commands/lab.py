"""``harness lab``: what rules cost, counted in instructions, on a stock kernel in a QEMU guest."""

from __future__ import annotations

import os
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
from harness.lab.machine import Clock
from harness.load.ab import Connections
from harness.measure.progress import Narrator
from harness.options import PatientCommand, PatientOption
from harness.results import RunFolder

NEW, KEPT = 800, 1600

OF_A_DUMP = (Cell(Kind.DUMP_LEGACY), Cell(Kind.DUMP_NFT))
"""What is measured beside the rest where rules were dumped."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of this command."""

    kernel: str
    mirror: str
    only: tuple[str, ...]
    requests: int
    jobs: int
    rules: Path | None
    ipset: Path | None
    pod: str
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
        modes = (self.tests, self.functional, bool(self.execute))
        words = " ".join(self.arguments)
        if sum(modes) > 1:
            yield "--tests, --functional and --execute: one of them at a time"
        if words and not any(modes[:2]):
            yield f"{words}: only --tests and --functional take arguments"
        if self.ipset and not self.rules:
            yield "--ipset: without --rules there is nothing that asks these sets"
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

    def errand(self) -> Errand | None:
        """Return what is to run in the guest instead of the cost table."""
        if self.tests:
            return errands.tests(self.arguments, self.jobs)
        if self.functional:
            return errands.functional(self.arguments)
        return errands.command(self.execute) if self.execute else None

    def dump(self) -> Dump | None:
        """Return the rules that are to be measured, too."""
        if self.rules is None:
            return None
        return dumps.read(self.rules, self.ipset, self.pod)

    def cells(self) -> tuple[Cell, ...]:
        """Return what is to be measured."""
        dumped = () if self.rules is None else OF_A_DUMP
        return chosen((*default_cells(), *dumped), self.only)

    def legs(self) -> dict[Connections, int]:
        """Return the requests of a leg, by kind of connection."""
        return {Connections.NEW: self.requests, Connections.KEPT: 2 * self.requests}


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Find out now whether it is an address."""
    del ctx, param
    return dumps.as_address(value) if value else ""


def _words(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Find out now whether a cell is called so."""
    del ctx, param
    if not chosen((*default_cells(), *OF_A_DUMP), value):
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
    default=NEW,
    show_default=True,
    help="Requests a cell with a new connection each; twice as many on kept ones.",
)
@click.option(
    "--jobs",
    cls=PatientOption,
    type=click.IntRange(min=1),
    default=len(os.sched_getaffinity(0)),
    help="Guests at a time, one core each; by default as many as there are cores.",
)
@click.option(
    "--rules", cls=PatientOption, type=_FILE, help="Measure this dump of iptables-save, too."
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
    "--tests",
    is_flag=True,
    help="Run tests/kernel in the guest instead, or what pytest's ARGUMENTS name.",
)
@click.option(
    "--functional",
    is_flag=True,
    help="Judge the bundled enforcer in the guest instead: the study, SCTP, IPVS; or what the"
    " ARGUMENTS of harness functional name.",
)
@click.option(
    "--execute",
    default="",
    metavar="COMMAND",
    help="Run a command in the guest instead, as: 'python -m harness functional'.",
)
@results_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(**options: Any) -> None:
    """Count what rules cost, in a guest whose clock counts instructions. Needs no root."""
    asked = Asked(**options)
    asked.check()
    dump, cells, errand = asked.dump(), asked.cells(), asked.errand()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    machine.require()
    narrator = Narrator(Console(highlight=False))
    kernel = debian.kernel(Release(asked.kernel), asked.mirror)
    narrator.say(f"a guest with Linux {kernel.version}, {machine.MEMORY_MIB} MiB")
    if errand:
        _run_in_guest(asked, errand, kernel, narrator)
    else:
        _measure(asked, study.Plan(kernel, cells, asked.legs(), asked.jobs, dump), narrator)


def _folder(asked: Asked, kernel: debian.Kernel, scenario: str, clock: Clock) -> RunFolder:
    return RunFolder.create(
        asked.results,
        cluster="lab",
        scenario=scenario,
        command=["harness", *sys.argv[1:]],
        settings={
            "kernel": kernel.version,
            "release": asked.kernel,
            "requests_new": asked.requests,
            "requests_kept": 2 * asked.requests,
            "only": list(asked.only),
            "qemu": " ".join((*machine.PROCESSOR, *clock.value)),
        },
    )


def _measure(asked: Asked, plan: study.Plan, narrator: Narrator) -> None:
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
    folder.finish("failed" if failed else "passed")
    path = report.write(folder)
    click.echo((folder.path / report.MARKDOWN).read_text())
    narrator.say(f"report: {path}")
    if failed:
        raise HarnessError("\n".join(f"not measured: {line}" for line in failed))


def _run_in_guest(asked: Asked, errand: Errand, kernel: debian.Kernel, narrator: Narrator) -> None:
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
    if code != 0:
        raise HarnessError(f"a command in the guest ended with {code}")
