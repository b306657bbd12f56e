"""What a person sees while a run goes on: what it does, how far it is, how long it still takes.

A terminal gets a moving bar; a file or a pipe gets a line now and then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_TELL_EVERY = 3.0  # seconds between two lines about one step of the cluster
_LINE_EVERY = 15.0  # seconds between two lines of a stage where there is no terminal


class Stage(Protocol):
    """A part of a run whose end is known."""

    def advance(self, done: int = 1, detail: str = "") -> None:
        """Say that ``done`` more units are finished, and what they showed."""


class Narrator:
    """Tells a person how a run goes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._told = time.monotonic()
        self._step = ""

    def tell(self, step: str, done: int, of: int) -> None:
        """Print how far a step of the cluster is, now and then: the steps are short or many."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._told = step, now
        if done < of and now - self._told > _TELL_EVERY:
            self._told = now
            self.say(f"{step}: {done} of {of}")

    def say(self, text: str) -> None:
        """Print a line, with the time since the start before it."""
        passed = int(time.monotonic() - self._started)
        self._console.print(
            f"[dim]{passed // 60:2d}:{passed % 60:02d}[/dim]  {text}", soft_wrap=True
        )

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Enter a part of the run that has ``total`` units."""
        if not self._console.is_terminal:
            yield _Lines(self, name, total)
            return
        columns = (
            TextColumn("       {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            yield _Bar(progress, name, total)


class _Bar:
    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total, detail="")

    def advance(self, done: int = 1, detail: str = "") -> None:
        self._progress.update(self._task, advance=done, detail=detail)


class _Lines:
    def __init__(self, narrator: Narrator, name: str, total: int) -> None:
        self._narrator = narrator
        self._name = name
        self._total = total
        self._done = 0
        self._started = self._said = time.monotonic()

    def advance(self, done: int = 1, detail: str = "") -> None:
        self._done += done
        now = time.monotonic()
        if now - self._said < _LINE_EVERY:
            return
        self._said = now
        left = (now - self._started) / self._done * (self._total - self._done)
        counted = f"{self._name}: {self._done} of {self._total}"
        said = (counted, f"{left / 60:.1f} min left", detail)
        self._narrator.say(", ".join(part for part in said if part))
