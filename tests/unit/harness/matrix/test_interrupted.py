"""``harness functional`` when a person ends it."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import main


def test_an_interrupted_run_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the cases is told as a shell expects it."""

    def interrupted(*_: object, plugins: list[Any]) -> pytest.ExitCode:
        plugins[1].interrupted = True
        return pytest.ExitCode.INTERRUPTED

    monkeypatch.setattr(pytest, "main", interrupted)

    result = CliRunner().invoke(main, ["functional", "--enforcer", "none"])

    assert "interrupted; everything was taken down" in result.output
    assert result.exit_code == 130
