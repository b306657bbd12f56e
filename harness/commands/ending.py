"""How a long measurement ends: reported, whatever ended it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click

from harness.errors import HarnessError
from harness.measure.progress import Narrator
from harness.results import RunFolder

INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended: 128 + SIGINT, as a shell would say it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a run is stored, who is told, and what draws its report."""

    folder: RunFolder
    narrator: Narrator
    write: Callable[[RunFolder], Path]

    def of(self, measure: Callable[[], None], status: Callable[[], str]) -> int:
        """Measure, say how it ended, and report what was measured; return the exit code."""
        try:
            with terminable():
                measure()
        except KeyboardInterrupt:
            self.narrator.say("interrupted: reporting what was measured")
            self._finish("partial", reason="interrupted")
            return INTERRUPTED
        except HarnessError as error:
            report = self._finish("failed", reason=str(error))
            click.echo(f"what was measured until then: {report}")
            raise
        except Exception:
            self._finish("failed", reason="a fault of the harness; its traceback was printed")
            raise
        self._finish(status())
        return 0

    def _finish(self, status: str, **facts: Any) -> Path:
        self.folder.finish(status, **facts)
        return self.write(self.folder)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: reported, and everything taken down."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
