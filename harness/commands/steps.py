"""Steps of a command that takes a while: what it does, how far it is, how long still."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

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

_SAY_SECONDS = 15.0
"""How often a line is written where there is no terminal to draw on."""


class Steps:
    """Shows each step as a bar; where there is no terminal, as a line at first and now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._step = ""
        self._began = self._said = time.monotonic()

    def __call__(self, step: str, done: int, of: int) -> None:
        """Say that ``done`` of a step's units are finished."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._began = step, now
        is_new = step not in self._tasks
        if is_new:
            self._tasks[step] = self._progress.add_task(step)
        self._progress.update(self._tasks[step], completed=done, total=of)
        if is_new or now - self._said > _SAY_SECONDS:
            self._said = now
            self._line(done, of)

    def _line(self, done: int, of: int) -> None:
        """Say how far it is, where nobody sees the bar."""
        console = self._progress.console
        if of and not console.is_terminal:
            spent = self._said - self._began
            left = f", about {spent / done * (of - done):.0f} s to go" if done else ""
            console.print(f"{self._step}: {done} of {of}{left}")


@contextmanager
def steps(console: Console) -> Iterator[Steps]:
    """Enter a display that is gone at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        yield Steps(progress)


def standard_error() -> Console:
    """Return the console of what is said beside a command's output."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
