"""Commands of this project that a guest runs, by the ordinary clock: tests, cases, whatever."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
import xml.etree.ElementTree as ET  # of a file that our own pytest has written
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from harness.lab import machine
from harness.lab.debian import Kernel
from harness.lab.initrd import SHARE
from harness.lab.machine import Clock, Guest, Job
from harness.results import RunFolder

FILE = "commands.json"
"""What each command ended with, in the run's folder."""

RUNS = "runs"
"""Folder of the results that commands in the guest have stored, in the same format."""

OUTPUT, ENDED, JUNIT = "output.txt", "ended", "junit.xml"
REPORT = "report.md"

MODULES = ("br_netfilter", "sctp", "nf_conntrack", "ip_vs", "ip_set")
"""What the kernel does not load by itself when it is asked for."""

_WORKERS = 4
"""Tests wait for packets most of the time, so one processor feeds several workers."""

_SILENCE = ("NPD_SILENCE_SECONDS", 2)
"""The guest is some ten times slower: an answer takes longer to come, until it counts as none."""

_PYTEST = ("-p", "no:cacheprovider", "--color=no", "-q", "--no-loadscope-reorder")


@dataclass(frozen=True, slots=True)
class Errand:
    """Commands that run one after the other, whatever the ones before ended with."""

    name: str
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """One command, and how it ended."""

    command: str
    exit_code: int
    seconds: int


def tests(arguments: Sequence[str]) -> Errand:
    """Return pytest's run of the kernel tests, or of what else the arguments name."""
    what = arguments or ("tests/kernel", "--numprocesses", str(_WORKERS))
    junit = f"--junitxml={SHARE}/{JUNIT}"
    program = ("env", f"{_SILENCE[0]}={_SILENCE[1]}", sys.executable, "-m", "pytest")
    return Errand("tests", ((*program, *_PYTEST, junit, *what),))


def functional(arguments: Sequence[str]) -> Errand:
    """Return the functional cases that other machines' kernels cannot run, or those named."""
    program = (sys.executable, "-m", "harness", "functional", f"--results={SHARE}/{RUNS}")
    return Errand(
        "functional",
        tuple((*program, *words) for words in ((arguments,) if arguments else FUNCTIONAL)),
    )


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


def run(errand: Errand, kernel: Kernel, folder: RunFolder) -> int:
    """Run it in a guest and store how it went; returns the exit code of the worst command.

    HarnessError where the guest ends before the commands do.
    """
    job = Job(("sh", "-c", _script(errand)), machine.callers_environment(), Clock.PATIENT)
    guest = Guest(kernel, folder.folder("logs/guest1"), job)
    try:
        with guest:
            _follow(guest)
    finally:
        _gather(errand, guest.share, folder)
    return guest.exit_code()


def _script(errand: Errand) -> str:
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
        *(f"run {shlex.join(words)}" for words in errand.commands),
        'exit "$worst"',
    ]
    return "".join(f"{line}\n" for line in lines)


def _follow(guest: Guest) -> None:
    """Print what the commands print until the guest has ended."""
    told, alive = 0, True
    path = guest.share / OUTPUT
    while alive:
        alive = guest.running()
        text = path.read_text(errors="replace") if path.exists() else ""
        click.echo(text[told:], nl=False)
        told = len(text)
        time.sleep(0.5 if alive else 0)


def _gather(errand: Errand, share: Path, folder: RunFolder) -> None:
    """Bring what the guest has left to where a run has it, and write the report."""
    for name in (RUNS, JUNIT, OUTPUT):
        if (share / name).exists():
            shutil.move(share / name, folder.path / name)
    said = (share / ENDED).read_text().split("\n") if (share / ENDED).exists() else []
    ended = [
        {"command": shlex.join(words), "exit_code": int(code), "seconds": int(seconds)}
        for words, (code, seconds) in zip(
            errand.commands, (line.split() for line in said if line), strict=False
        )
    ]
    folder.write_json(FILE, ended)
    write(folder)


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
        *_counted(folder.path / JUNIT),
        *_runs(sorted(folder.path.glob(f"{RUNS}/*/run.json"))),
    ]
    return folder.write_text(REPORT, "".join(f"{line}\n" for line in lines))


def _counted(junit: Path) -> Iterable[str]:
    """Yield how many tests passed, and the names of those that did not."""
    if not junit.exists():
        return
    cases = list(ET.parse(junit).getroot().iter("testcase"))  # noqa: S314  # see the import
    bad = [case for case in cases if case.find("failure") is not None or _is_error(case)]
    skipped = [case for case in cases if case.find("skipped") is not None]
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
