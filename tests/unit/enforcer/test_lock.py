"""One enforcer in a network namespace, whatever its ports are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from enforcer import lock
from enforcer.errors import SettingsError

HOLD = "from enforcer import lock\nwith lock.held(): print('held', flush=True); input()"


@pytest.fixture
def own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a lock of this test's own: an enforcer may run on this machine."""
    monkeypatch.setattr(lock, "_NAME", f"\0npd-test-{os.getpid()}")


@pytest.mark.usefixtures("own_lock")
def test_the_second_one_is_told_who_is_first() -> None:
    """Two would undo each other's tables for ever."""
    with lock.held():
        assert lock.holder() == f"process {os.getpid()}"
        with pytest.raises(SettingsError, match=f"another enforcer .process {os.getpid()}"):
            lock.held().__enter__()

    assert lock.holder() == ""


@pytest.mark.usefixtures("own_lock")
def test_it_is_free_again_afterwards() -> None:
    """However often."""
    for _ in range(2):
        with lock.held():
            pass


@pytest.mark.usefixtures("own_lock")
def test_it_is_free_when_its_holder_was_killed() -> None:
    """No file goes stale: kill -9 gives it free."""
    name = f"\\0npd-test-{os.getpid()}"
    code = HOLD.replace("\nwith", f"\nlock._NAME = '{name}'\nwith")
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert lock.holder() == f"process {holder.pid}"

    holder.kill()
    holder.communicate()

    with lock.held():
        pass
