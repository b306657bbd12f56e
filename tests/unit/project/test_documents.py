"""The documents: what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link or picture of a document is a file of the repository."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]

    assert missing == []


def test_every_rule_names_a_test_that_exists() -> None:
    """Each row of docs/semantics.md says which test proves it, and that one is there."""
    text = (ROOT / "docs" / "semantics.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| ") and "| test |" not in row]
    named = [re.search(r"`([\w/.]+)::(test_\w+)`", row) for row in rows]
    missing = [row for row, found in zip(rows, named, strict=True) if not _is_there(found)]

    assert len(rows) > 50
    assert missing == []


def test_what_is_said_of_the_fast_path_names_tests_that_exist() -> None:
    """Each row of its table in docs/packet-path.md does, by file and function."""
    text = (ROOT / "docs" / "packet-path.md").read_text()
    named = list(re.finditer(r"`([\w/.]+)::(test_\w+)`", text))

    assert len(named) > 10
    assert [found[0] for found in named if not _is_there(found)] == []


def test_metrics_to_watch_are_metrics_that_there_are() -> None:
    """Each one that docs/operate.md names is in the list of all, which is made from the code."""
    listed = (ROOT / "docs" / "flags-and-metrics.md").read_text()
    named = set(re.findall(r"\benforcer_[a-z_]+", (ROOT / "docs" / "operate.md").read_text()))

    assert len(named) > 8
    assert [name for name in sorted(named) if f"`{name}`" not in listed] == []


_SHORT = {
    "semantics": "property/test_semantics.py",
    "meant": "property/test_who_is_meant.py",
}
"""Names that the document gives to files which it names often."""


def _is_there(found: re.Match[str] | None) -> bool:
    if found is None:
        return False
    path = _SHORT.get(found[1], found[1])
    return f"def {found[2]}(" in (ROOT / "tests" / path).read_text()
