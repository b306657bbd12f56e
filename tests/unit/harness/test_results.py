"""Where results are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.functional import command
from harness.errors import UsageError
from harness.results import RunFolder


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    """Results cannot lie below a file: said in a sentence, not with a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--results .*file/results: .*Not a directory"):
        RunFolder.create(
            tmp_path / "file" / "results", cluster="c", scenario="s", command=[], settings={}
        )


def test_it_is_said_before_anything_is_built(tmp_path: Path) -> None:
    """A functional run names it together with every other mistake."""
    (tmp_path / "file").touch()
    done = CliRunner().invoke(
        command, ["--nodes=1", "--enforcer=nobody", f"--results={tmp_path / 'file'}"]
    )

    said = str(done.exception)
    assert isinstance(done.exception, UsageError)
    assert "--nodes" in said
    assert "nobody" in said
    assert "--results" in said
