"""What a sysdump has of the kernel."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator

import pytest

from enforcer import sysdump
from enforcer.ruleset.names import FORMER, IPV4, IPV6
from enforcer.settings import Settings
from tests.kernel.netlab import Namespace, run

pytestmark = pytest.mark.kernel

TABLE = 'add table {0}; add chain {0} here; add rule {0} here counter drop comment "{1}"\n'


@pytest.fixture
def space() -> Iterator[Namespace]:
    """Return an empty network namespace."""
    name = f"npdsysdump-{os.getpid()}"
    run("ip", "netns", "add", name)
    made = Namespace(name)
    yield made
    made.close()
    run("ip", "netns", "del", name)


def test_tables_that_were_left_are_shown_by_content(space: Namespace) -> None:
    """Today's tables have a file each; a stand-in or a former table that stayed is in another."""
    names = {str(IPV4): "today", str(FORMER): "former", f"{IPV6}_stand_in": "stands in"}
    text = "".join(TABLE.format(*item) for item in names.items())
    space.run("nft", "-f", "-", text=f"{text}add table ip npd_of_others\n")

    files = space.call(_dumped)

    assert "today" in files["nft-ip.txt"]
    assert "former" in files["nft-left.txt"]
    assert "stands in" in files["nft-left.txt"]
    assert "npd_of_others" not in files["nft-left.txt"]


def test_that_no_table_was_left_is_said(space: Namespace) -> None:
    """An empty file could be one that was not made."""
    assert space.call(_dumped)["nft-left.txt"] == "none\n"


def _dumped() -> dict[str, str]:
    """Return a sysdump's files by name; no API server answers."""
    target = io.BytesIO()
    sysdump.write(Settings(node_name="one", master="http://127.0.0.1:1"), target)
    target.seek(0)
    found = {}
    with tarfile.open(fileobj=target) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.partition("/")[2]] = file.read().decode()
    return found
