"""One kind cluster for all tests here, with the images loaded.

It needs docker, kind, kubectl, pytest-kind, a node image (``$KIND_NODE_IMAGE``) and our own two
images (``nox -s image``); where anything is missing nothing here runs, and the run says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clusters.kind.config import KindConfig
from harness.clusters.kind.provider import AtEnd, KindNodes
from harness.clusters.kind.tools import Tools, find_tools
from harness.clusters.kube.agents import Agents, manifests
from tests.kind.deployed import (
    ENFORCER_IMAGE,
    NAMESPACE,
    WORKLOAD_IMAGE,
    House,
    Place,
    namespace,
    settle,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have tests come in the order that leaves the least to be waited for."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Say when a test has its turn: the harness's own runs need its agents' name to be free."""
    if Path(__file__).parent not in item.path.parents:
        return 0
    fixtures = getattr(item, "fixturenames", ())
    if item.get_closest_marker("last"):
        return 3
    return 2 if "lab" in fixtures else int("reduced" in fixtures)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Return what clusters are made with."""
    return find_tools()


@pytest.fixture(scope="session")
def house(tools: Tools, pytestconfig: pytest.Config) -> Iterator[House]:
    """Give a cluster with one worker, where nothing enforces yet.

    pytest-kind's ``--keep-cluster`` leaves it for the next run.
    """
    keep = pytestconfig.getoption("keep_cluster")
    name, end = ("npd-test", AtEnd.KEEP) if keep else (f"npd-test-{os.getpid()}", AtEnd.DELETE)
    with KindNodes(name, tools, KindConfig(), end) as cluster:
        cluster.load(ENFORCER_IMAGE, WORKLOAD_IMAGE)
        made = House(cluster)
        with namespace(cluster.kubectl, NAMESPACE):
            settle(made)
            yield made


@pytest.fixture(scope="session")
def lab(house: House) -> Iterator[Place]:
    """Give it with an agent on each node."""
    with Agents(house.kubectl, manifests(WORKLOAD_IMAGE)) as agents:
        yield Place(house.cluster, agents)
