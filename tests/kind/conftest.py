"""One kind cluster for all tests here, with the images loaded and an agent on each node.

It needs docker, kind, kubectl, pytest-kind, a node image (``$KIND_NODE_IMAGE``) and our own two
images (``nox -s image``); where anything is missing nothing here runs, and the run says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.clusters.kind.provider import AtEnd
from harness.clusters.kind.tools import Tools, find_tools
from tests.kind.deployed import Place, place


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Return what clusters are made with."""
    return find_tools()


@pytest.fixture(scope="session")
def lab(tools: Tools, pytestconfig: pytest.Config) -> Iterator[Place]:
    """Give a cluster with one worker, where nothing enforces yet.

    pytest-kind's ``--keep-cluster`` leaves it for the next run.
    """
    keep = pytestconfig.getoption("keep_cluster")
    name = "npd-test" if keep else f"npd-test-{os.getpid()}"
    with place(name, tools, AtEnd.KEEP if keep else AtEnd.DELETE) as made:
        yield made
