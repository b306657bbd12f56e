"""``harness lab``: what rules cost, counted in instructions, on a stock kernel in a QEMU guest."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.errors import HarnessError, Interrupted, UsageError
from harness.lab import debian, machine, report, rules, study
from harness.lab.cells import Cell, Kind, chosen, default_cells
from harness.lab.debian import Release
from harness.lab.initrd import SHARE
from harness.lab.machine import Clock, Guest, Job
from harness.load.ab import Connections
from harness.measure.progress import Narrator
from harness.results import RunFolder

NEW, KEPT = 800, 1600
KERNEL_TESTS = ("-m", "pytest", "tests/kernel", "-p", "no:cacheprovider", "--color=no", "-q")
MODULES = ("br_netfilter", "sctp", "nf_conntrack", "ip_vs")
"""What the kernel does not load by itself when it is asked for."""

OUTPUT = "output.txt"


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
    tests: bool
    execute: str
    results: Path


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--kernel",
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
    type=click.IntRange(min=100),
    default=NEW,
    show_default=True,
    help="Requests a cell with a new connection each; twice as many on kept ones.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=len(os.sched_getaffinity(0)),
    help="Guests at a time, one core each; by default as many as there are cores.",
)
@click.option("--rules", type=_FILE, help="Measure this dump of iptables-save, too.")
@click.option("--ipset", type=_FILE, help="The dump of ipset save that --rules needs.")
@click.option("--tests", is_flag=True, help="Run tests/kernel in the guest instead.")
@click.option(
    "--execute",
    default="",
    metavar="COMMAND",
    help="Run a command in the guest instead, as: 'python -m harness functional'.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where the run's folder is made.",
)
def command(**options: Any) -> None:
    """Count what rules cost, in a guest whose clock counts instructions. Needs no root."""
    asked = Asked(**options)
    if asked.ipset and not asked.rules:
        raise UsageError("--ipset: without --rules there is nothing that asks these sets")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    machine.require()
    narrator = Narrator(Console(highlight=False))
    kernel = debian.kernel(Release(asked.kernel), asked.mirror)
    narrator.say(f"a guest with Linux {kernel.version}, {machine.MEMORY_MIB} MiB")
    if asked.tests or asked.execute:
        _run_in_guest(asked, kernel, narrator)
    else:
        _measure(asked, kernel, narrator)


def _folder(asked: Asked, kernel: debian.Kernel, scenario: str) -> RunFolder:
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
            "qemu": " ".join((*machine.PROCESSOR, *Clock.INSTRUCTIONS.value)),
        },
    )


def _measure(asked: Asked, kernel: debian.Kernel, narrator: Narrator) -> None:
    cells = chosen((*default_cells(), *_dumped(asked)), asked.only)
    if not cells:
        raise UsageError(f"--only: no cell is called like {' or '.join(asked.only)}")
    requests = {Connections.NEW: asked.requests, Connections.KEPT: 2 * asked.requests}
    dump = rules.Dump(asked.rules, asked.ipset) if asked.rules else None
    plan = study.Plan(kernel, cells, requests, asked.jobs, dump)
    folder = _folder(asked, kernel, "cost")
    narrator.say(f"{len(cells)} cells, each in {study.PASSES} guests; results in {folder.path}")
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


def _dumped(asked: Asked) -> tuple[Cell, ...]:
    if asked.rules is None:
        return ()
    return (Cell(Kind.DUMP_LEGACY), Cell(Kind.DUMP_NFT))


def _run_in_guest(asked: Asked, kernel: debian.Kernel, narrator: Narrator) -> None:
    inner = [sys.executable, *KERNEL_TESTS] if asked.tests else shlex.split(asked.execute)
    folder = _folder(asked, kernel, "tests" if asked.tests else "command")
    output = f"{SHARE}/{OUTPUT}"
    script = f"modprobe -a {' '.join(MODULES)}; {shlex.join(inner)} >{output} 2>&1"
    job = Job(("sh", "-c", script), clock=Clock.WALL)
    guest = Guest(kernel, folder.folder("logs/guest1"), job)
    try:
        with guest:
            _follow(guest)
    except KeyboardInterrupt:
        folder.finish("partial", reason="interrupted")
        raise Interrupted(f"interrupted; output so far is in {guest.share / OUTPUT}") from None
    code = guest.exit_code()
    folder.finish("passed" if code == 0 else "failed", exit_code=code)
    narrator.say(f"exit code {code}; output: {guest.share / OUTPUT}")
    if code != 0:
        raise HarnessError(f"the command in the guest ended with {code}")


def _follow(guest: Guest) -> None:
    """Print what the command prints until the guest has ended."""
    told, alive = 0, True
    path = guest.share / OUTPUT
    while alive:
        alive = guest.running()
        text = path.read_text(errors="replace") if path.exists() else ""
        click.echo(text[told:], nl=False)
        told = len(text)
        time.sleep(0.5 if alive else 0)
