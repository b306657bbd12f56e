"""``harness lab``: what rules cost, counted in instructions, on a stock kernel in a QEMU guest."""

from __future__ import annotations

import os
import signal
import sys
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
        modes = (self.tests, self.functional, bool(self.execute))
        words = " ".join(self.arguments)
        mistakes = {
            "--tests, --functional and --execute: one of them at a time": sum(modes) > 1,
            f"{words}: only --tests and --functional take arguments": words and not any(modes[:2]),
            "--ipset: without --rules there is nothing that asks these sets": (
                self.ipset and not self.rules
            ),
            "--pod: it is one of the dump's; give that by --rules": self.pod and not self.rules,
        }
        if any(mistakes.values()):
            raise UsageError("\n".join(text for text, is_one in mistakes.items() if is_one))

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
        return dumps.read(self.rules, self.ipset, dumps.as_address(self.pod) if self.pod else "")

    def cells(self, dump: Dump | None) -> tuple[Cell, ...]:
        """Return what is to be measured; UsageError where no cell is called as ``--only`` says."""
        dumped = () if dump is None else (Cell(Kind.DUMP_LEGACY), Cell(Kind.DUMP_NFT))
        cells = chosen((*default_cells(), *dumped), self.only)
        if not cells:
            raise UsageError(f"--only: no cell is called like {' or '.join(self.only)}")
        return cells

    def legs(self) -> dict[Connections, int]:
        """Return the requests of a leg, by kind of connection."""
        return {Connections.NEW: self.requests, Connections.KEPT: 2 * self.requests}


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
    dump, errand = asked.dump(), asked.errand()
    cells = asked.cells(dump)
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
