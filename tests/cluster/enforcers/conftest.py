"""What tests of enforcers on an embedded cluster share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program with kube-router's surface and the model's rules."""
    script = Path(__file__).with_name("stand_in.py")
    path = tmp_path_factory.mktemp("stand-in") / "kube-router"
    root = Path(__file__).parents[3]
    path.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} {script} "$@"\n')
    path.chmod(0o755)
    return path
