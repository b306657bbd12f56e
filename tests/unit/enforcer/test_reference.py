"""docs/flags-and-metrics.md says what the program does."""

from __future__ import annotations

from pathlib import Path

from enforcer import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "flags-and-metrics.md"


def test_the_document_is_up_to_date() -> None:
    """After a change: python -m enforcer.reference > docs/flags-and-metrics.md."""
    assert DOCUMENT.read_text() == reference.text()


def test_labels_of_metrics_without_samples_are_shown() -> None:
    """A reader needs them before the first denial."""
    assert "| `enforcer_dropped_packets_total` | counter | `reason` |" in reference.text()
