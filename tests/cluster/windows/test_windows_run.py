"""``harness functional --windows`` on a cluster: few events, real packets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.commands.windows import measure
from harness.measure.windows.record import Series
from harness.options import settings_from
from harness.prober.stream import Flow

pytestmark = pytest.mark.cluster

CHANGES = {
    "allow → deny",
    "deny → allow",
    "allowing policy created",
    "allowing policy deleted",
    "pod labelled, allowed",
    "pod unlabelled, denied",
    "namespace labelled, allowed",
    "namespace unlabelled, denied",
    "nothing altered (floor)",
}


def test_every_change_has_windows_of_new_and_of_established_connections(tmp_path: Path) -> None:
    """The bundled enforcer follows each change, and is never wrong over a restart or a start."""
    settings = settings_from({"control_plane": "builtin"})
    code = measure(settings, "bundled", tmp_path, events=2)

    (folder,) = tmp_path.iterdir()
    stored = json.loads((folder / "windows.json").read_text())
    assert (code, json.loads((folder / "run.json").read_text())["status"]) == (0, "passed")
    series = [Series.load(one) for one in stored["series"]]
    assert {(one.change, one.flow) for one in series} == {(c, f) for c in CHANGES for f in Flow}
    # A probe that a busy machine holds up voids its event: said, and never counted.
    assert all(len(one.windows) + one.voids.total() == 2 for one in series)
    assert sum(len(one.windows) for one in series) > len(series)
    assert len(stored["never"]) == 5
    assert all(one["answers"] > 50 and one["wrong"] == 0 for one in stored["never"])
    assert (folder / "figures" / "windows.svg").stat().st_size > 0
    assert "allow → deny" in (folder / "report.md").read_text()
