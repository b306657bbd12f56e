"""Commands of this project that a guest runs: tests, cases, whatever, by a patient clock."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from harness.lab import machine
from harness.lab.debian import Kernel
from harness.lab.initrd import SHARE
from harness.lab.machine import Clock, Guest, Job
from harness.results import RunFolder, unused

FILE = "commands.json"
"""What each command ended with, in the run's folder."""

RUNS = "runs"
"""Folder of the results that commands in the guest have stored, in the same format."""

LOGS, OUTPUT, ENDED, JUNIT = "logs", "output.txt", "ended", "junit.xml"
REPORT = "report.md"

MODULES = ("br_netfilter", "sctp", "nf_conntrack", "ip_vs", "ip_set")
"""What the kernel does not load by itself when it is asked for."""

_WORKERS = 3
"""Tests wait for packets much of the time, so one processor feeds several workers."""

_SILENCE = "NPD_SILENCE_SECONDS=1"
"""In a guest a program's file may come late: an answer has more time until it counts as none."""

_PYTEST = ("-p", "no:cacheprovider", "--color=no", "-v", "--tb=short", "--no-loadscope-reorder")
"""A line for each test as it ends: they take an hour or two in all."""

_TESTING = ("env", _SILENCE, sys.executable, "-m", "pytest", *_PYTEST)

_Commands = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Errand:
    """Commands that run whatever others ended with; the guests take them by turns."""

    name: str
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """One command, and how it ended."""

    command: str
    exit_code: int
    seconds: int


def tests(arguments: Sequence[str], jobs: int) -> Errand:
    """Return pytest's run of the kernel tests, a share for each guest, or of the arguments."""
    if arguments:
        return Errand("tests", ((*_TESTING, f"--junitxml={SHARE}/{JUNIT}", *arguments),))
    shares = (
        _several_workers(number, f"--shard={number}/{jobs}", "tests/kernel")
        for number in range(1, jobs + 1)
    )
    return Errand("tests", tuple(shares))


def _several_workers(number: int, *arguments: str) -> tuple[str, ...]:
    """Return one of several runs of pytest."""
    stored = f"--junitxml={SHARE}/{number}-{JUNIT}"
    return (*_TESTING, stored, "--numprocesses", str(_WORKERS), *arguments)


def functional(arguments: Sequence[str]) -> Errand:
    """Return the functional cases that other machines' kernels cannot run, or those named."""
    runs = (arguments,) if arguments else FUNCTIONAL
    return Errand("functional", tuple(_judging(words) for words in runs))


def _judging(words: Sequence[str]) -> tuple[str, ...]:
    return (sys.executable, "-m", "harness", "functional", f"--results={SHARE}/{RUNS}", *words)


def chosen() -> Errand:
    """Return what a whole run tries beside the cost table, in some minutes."""
    tests = (_several_workers(number, *paths) for number, paths in enumerate(CHOSEN, 1))
    return Errand("features", (*tests, _judging(CHOSEN_CASES)))


CHOSEN = (
    tuple(f"tests/kernel/test_{name}.py" for name in ("sctp", "ipvs", "several_bridges")),
    tuple(f"tests/kernel/test_fast_path{name}.py" for name in ("", "_flows")),
)
"""Tests of what many a machine's kernel lacks: SCTP, IPVS, several bridges; and flowtables, which
take as long as those and the case that comes behind them in the same one of two guests."""

CHOSEN_CASES = (
    *("--control-plane=builtin", "--cni=routed", "--ip-family=ipv4"),
    *("--group=study", "-k", "STUDY-01"),
)
"""A documented policy, judged with real packets."""

FUNCTIONAL: tuple[tuple[str, ...], ...] = (
    ("--control-plane=builtin", "--select=wiring=routed,bridged family=ipv4", "--group=study"),
    (
        *("--control-plane=builtin", "--cni=routed", "--ip-family=dual"),
        *("--group=ports,isolation", "--select=protocol=SCTP", "-k", "PORT-006 or ISO-003"),
    ),
    (
        *("--control-plane=real", "--proxy=kube-proxy-ipvs", "--cni=routed"),
        *("--group=study,defects", "-k", "STUDY-01 or DEFECT-003"),
    ),
)
"""The study on both wirings; SCTP; IPVS, which only the real kube-proxy programs."""


def command(words: str) -> Errand:
    """Return a person's command."""
    return Errand("command", (tuple(shlex.split(words)),))


def run(errand: Errand, kernel: Kernel, folder: RunFolder, jobs: int) -> int:
    """Run it in guests and store how it went; returns the exit code of the worst command.

    HarnessError where a guest ends before its commands do.
    """
    shares = [errand.commands[number::jobs] for number in range(min(jobs, len(errand.commands)))]
    guests = [_guest(commands, kernel, folder, n) for n, commands in enumerate(shares, 1)]
    try:
        with ExitStack() as stack:
            _follow([stack.enter_context(guest) for guest in guests])
    finally:
        ended = [
            one
            for share, it in zip(shares, guests, strict=True)
            for one in _gathered(share, it.share, folder)
        ]
        folder.write_json(FILE, [asdict(one) for one in ended])
        write(folder)
    return max(guest.exit_code() for guest in guests)


def _guest(commands: _Commands, kernel: Kernel, folder: RunFolder, number: int) -> Guest:
    job = Job(("sh", "-c", _script(commands)), machine.callers_environment(), Clock.PATIENT)
    return Guest(kernel, folder.folder(f"{LOGS}/guest{number}"), job)


def _script(commands: _Commands) -> str:
    """Return the shell's script: modules, then each command, with what it ended with."""
    lines = [
        f"modprobe -a {' '.join(MODULES)}",
        "worst=0",
        "run() {",
        "began=$(date +%s)",
        f'"$@" >>{SHARE}/{OUTPUT} 2>&1',
        "code=$?",
        f'echo "$code $(($(date +%s) - began))" >>{SHARE}/{ENDED}',
        '[ "$code" -le "$worst" ] || worst=$code',
        "}",
        *(f"run {shlex.join(words)}" for words in commands),
        'exit "$worst"',
    ]
    return "".join(f"{line}\n" for line in lines)


def _follow(guests: Sequence[Guest]) -> None:
    """Print what the commands print until every guest has ended."""
    told, alive = dict.fromkeys(guests, 0), True
    while alive:
        alive = any(guest.running() for guest in guests)
        for guest in guests:
            path = guest.share / OUTPUT
            text = path.read_text(errors="replace") if path.exists() else ""
            click.echo(text[told[guest] :], nl=False)
            told[guest] = len(text)
        time.sleep(0.5 if alive else 0)


def _gathered(commands: _Commands, share: Path, folder: RunFolder) -> Iterator[Ended]:
    """Bring what a guest has stored to where a run has it, and yield what has ended."""
    for path in (*share.glob(f"*{JUNIT}"), *share.glob(f"{RUNS}/*")):
        target = folder.path / path.relative_to(share)
        target.parent.mkdir(exist_ok=True)
        shutil.move(path, unused(target))
    said = (share / ENDED).read_text().splitlines() if (share / ENDED).exists() else []
    for words, line in zip(commands, said, strict=False):
        code, seconds = map(int, line.split())
        yield Ended(shlex.join(words), code, seconds)


def write(folder: RunFolder) -> Path:
    """Write the report of a run of commands; return its path."""
    run = folder.read_json("run.json")
    ended = [Ended(**item) for item in folder.read_json(FILE)]
    lines = [
        f"# What ran on Linux {run['settings']['kernel']}",
        "",
        f"Started {run['started']}, commit {run['commit']}; `{shlex.join(run['command'])}`.",
        "",
        "| command | exit code | seconds |",
        "|---|---:|---:|",
        *(f"| `{it.command}` | {it.exit_code} | {it.seconds} |" for it in ended),
        *_counted(sorted(folder.path.glob(f"*{JUNIT}"))),
        *_runs(sorted(folder.path.glob(f"{RUNS}/*/run.json"))),
    ]
    return folder.write_text(REPORT, "".join(f"{line}\n" for line in lines))


def _counted(paths: Sequence[Path]) -> Iterator[str]:
    """Yield how many tests passed, and the names of those that did not."""
    cases = [case for path in paths for case in ET.parse(path).getroot().iter("testcase")]  # noqa: S314  # our own pytest's
    bad = [case for case in cases if case.find("failure") is not None or _is_error(case)]
    skipped = [case for case in cases if case.find("skipped") is not None]
    if cases:
        passed = len(cases) - len(bad) - len(skipped)
        yield from ("", f"{passed} tests passed, {len(bad)} failed, {len(skipped)} were skipped.")
    yield from (f"- failed: {case.get('classname')}::{case.get('name')}" for case in bad)


def _is_error(case: ET.Element) -> bool:
    return case.find("error") is not None


def _runs(paths: Iterable[Path]) -> Iterable[str]:
    """Yield a line for each run that a command in the guest has stored."""
    for path in paths:
        status = json.loads(path.read_text())["status"]
        yield from ("", f"- [{path.parent.name}]({RUNS}/{path.parent.name}/report.md): {status}")
