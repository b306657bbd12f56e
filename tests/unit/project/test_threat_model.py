"""The threat model names attacks and tests that exist, and leaves no attack out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kernel.attacks import ATTACKS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed is no proof."""
    named = set(re.findall(r"`(test_\w+)`", TEXT))

    assert named
    assert {name for name in named if f"def {name}(" not in TESTS} == set()


def test_every_attack_is_named() -> None:
    """What is tried is told, by its name or by the beginning that it shares with others."""
    named = set(re.findall(r"`([\w-]+)`", TEXT))

    def is_named(attack: str) -> bool:
        parts = attack.split("-")
        return any("-".join(parts[:end]) in named for end in range(1, len(parts) + 1))

    assert [attack.name for attack in ATTACKS if not is_named(attack.name)] == []
